//! The architecture as a table, and the rules of the repository, checked against the files.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::path::{Path, PathBuf};

/// From the bottom up. A module uses those of the lines above it, and none of its own line.
const LAYERS: [&[&str]; 14] = [
    &["json", "merkle"],
    &["event", "tlog"],
    &["query", "verify"],
    &["store", "postgres", "metrics", "sample"],
    &["auth", "server"],
    &["integrity", "walk"],
    &["ingest", "lifecycle"],
    &["access"],
    &["checks"],
    &["api"],
    &["config"],
    &["telemetry"],
    &["app", "bench"],
    &["cli"],
];

/// What is pure does no input or output and can be tested without any.
const PURE: [&str; 7] = ["json", "merkle", "event", "query", "tlog", "verify", "sample"];
const IO_CRATES: [&str; 6] = ["tokio", "sqlx", "poem", "poem_openapi", "hyper", "hyper_util"];

/// Crates that nobody knows but the modules behind which they hide.
const HIDDEN: [(&str, &[&str]); 3] =
    [("poem", &["api"]), ("poem_openapi", &["api"]), ("clap", &["cli", "bench"])];

const SOURCE_MAX_LINES: usize = 500;
const TEST_MAX_LINES: usize = 650;

struct File {
    /// Relative to the repository, with forward slashes.
    path: String,
    text: String,
}

impl File {
    /// The module below the root of the crate, `None` for the root itself.
    fn module(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let first = inside.split('/').next()?;
        let module = first.strip_suffix(".rs").unwrap_or(first);
        (!["lib", "main"].contains(&module)).then_some(module)
    }

    /// Lines with their numbers, without what is only commented.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
    }

    fn at(&self, line: usize, complaint: &str) -> String {
        format!("{}:{line}: {complaint}", self.path)
    }
}

fn files_under(folder: &str, extensions: &[&str]) -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let extension = path.extension().unwrap_or_default().to_str().unwrap();
            if path.is_dir() {
                folders.push(path);
            } else if extensions.is_empty() || extensions.contains(&extension) {
                let relative = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push(File { path: relative, text: std::fs::read_to_string(&path).unwrap() });
            }
        }
    }
    found
}

fn source() -> Vec<File> {
    files_under("src", &["rs"])
}

/// The first names after each `crate::`, also inside of `crate::{…}`, with their lines.
fn modules_used(file: &File) -> Vec<(usize, String)> {
    let code: Vec<(usize, &str)> = file.code().collect();
    let mut used = Vec::new();
    for (index, (number, line)) in code.iter().enumerate() {
        for (_, rest) in line.match_indices("crate::").map(|(at, path)| (at, &line[at + path.len()..])) {
            if let Some(group) = rest.strip_prefix('{') {
                let following = code[index + 1..].iter().map(|(_, line)| *line);
                let group: String = std::iter::once(group).chain(following).collect();
                used.extend(first_names(&group).into_iter().map(|name| (*number, name)));
            } else {
                used.push((*number, name_at(rest)));
            }
        }
    }
    used
}

/// The names at the top level of a group whose opening brace has been read.
fn first_names(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut names = vec![name_at(group)];
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name_at(&group[at + 1..])),
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn name_at(text: &str) -> String {
    text.trim_start().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Whether a line names something of this crate.
fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(&format!("{name}::")).any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':')
    })
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn every_module_has_a_layer_and_uses_only_those_below_it() {
    let mut complaints = Vec::new();
    for file in &source() {
        let Some(module) = file.module() else { continue };
        let Some(own) = layer_of(module) else {
            complaints.push(file.at(1, &format!("{module} has no place in LAYERS")));
            continue;
        };
        for (line, used) in modules_used(file) {
            let allowed = used == module || layer_of(&used).is_some_and(|layer| layer < own);
            if !allowed {
                complaints.push(file.at(line, &format!("{module} must not use {used}")));
            }
        }
    }
    assert_none(&complaints);
}

#[test]
fn what_is_pure_knows_no_input_or_output_and_poem_stays_in_the_api() {
    let mut complaints = Vec::new();
    for file in &source() {
        let Some(module) = file.module() else { continue };
        for (line, code) in file.code() {
            let io = IO_CRATES.iter().filter(|_| PURE.contains(&module)).copied();
            let hidden = HIDDEN.iter().filter(|(_, owners)| !owners.contains(&module)).map(|(name, _)| *name);
            for name in io.chain(hidden).filter(|name| names_crate(code, name)) {
                complaints.push(file.at(line, &format!("{module} must not know {name}")));
            }
        }
    }
    assert_none(&complaints);
}

#[test]
fn lints_are_met_and_unsafe_code_has_one_home() {
    let words: [(String, &[&str]); 4] = [
        // With the bracket before it, as `.allow(` is also a name of ours.
        (format!("[{}(", "allow"), &[]),
        (format!("{}!(", "todo"), &[]),
        (format!("{}!(", "unimplemented"), &[]),
        (format!("{} {{", "unsafe"), &["src/postgres/process.rs"]),
    ];
    let mut complaints = Vec::new();
    for file in source().iter().chain(&files_under("tests", &["rs"])) {
        for (line, code) in file.code() {
            for (word, homes) in &words {
                if code.contains(word.as_str()) && !homes.contains(&file.path.as_str()) {
                    complaints.push(file.at(line, &format!("`{word}` has no place here")));
                }
            }
        }
    }
    assert_none(&complaints);
}

#[test]
fn files_are_short_enough_to_be_read() {
    let limits = [("src", SOURCE_MAX_LINES), ("tests", TEST_MAX_LINES)];
    let mut complaints = Vec::new();
    for (folder, limit) in limits {
        for file in files_under(folder, &["rs"]) {
            let lines = file.text.lines().count();
            if lines > limit {
                complaints.push(file.at(lines, &format!("more than {limit} lines")));
            }
        }
    }
    assert_none(&complaints);
}

/// Builds take whatever registry the machine is set up for, and every clone lies somewhere else.
#[test]
fn no_file_names_a_package_registry_or_a_path_of_one_machine() {
    let words = [
        ["crates", ".io"],
        ["py", "pi.org"],
        ["npm", "js.org"],
        ["pythonhosted", ".org"],
        ["proxy.golang", ".org"],
        ["rubygems", ".org"],
        ["/wor", "k/"],
        ["/tmp/", "wt"],
    ]
    .map(|parts| parts.concat());
    let folders = [
        "src",
        "tests",
        "config",
        "docs",
        "migrations",
        "packaging",
        "scripts",
        "fuzz/src",
        "fuzz/targets",
        ".ci",
    ];
    let top = ["Cargo.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Dockerfile", "compose.yaml"];
    let top = top.into_iter().chain(["deny.toml", "clippy.toml", "deploy.sh", "build.rs"]).map(|name| File {
        path: name.to_owned(),
        text: std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap(),
    });
    let mut complaints = Vec::new();
    let files = folders.iter().flat_map(|folder| files_under(folder, &[]));
    // Cargo writes its registry's canonical name into every lock file, wherever the packages come from.
    for file in files.filter(|file| !file.path.ends_with("Cargo.lock")).chain(top) {
        for (index, line) in file.text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(word.as_str())) {
                complaints.push(file.at(index + 1, &format!("`{word}` ties the project to one place")));
            }
        }
    }
    assert_none(&complaints);
}

/// What is tolerated for a while is looked at again.
#[test]
fn every_exception_of_deny_toml_has_a_reason_and_a_date_that_is_not_past() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml")).unwrap();
    let rules: toml::Table = text.parse().unwrap();
    let today = time::OffsetDateTime::now_utc().date().to_string();
    let lists = [("advisories", "ignore"), ("bans", "skip"), ("bans", "skip-tree")];
    let exceptions = lists.iter().filter_map(|(table, list)| rules[*table].get(list)?.as_array()).flatten();
    let complaints: Vec<String> = exceptions.filter_map(|exception| fault_of(exception, &today)).collect();
    assert_none(&complaints);
}

fn fault_of(exception: &toml::Value, today: &str) -> Option<String> {
    let reason = exception.get("reason").and_then(toml::Value::as_str).unwrap_or_default();
    let dated = reason.strip_prefix("until ").and_then(|reason| reason.split_once(": "));
    match dated {
        Some((until, why)) if until.len() == today.len() && !why.is_empty() && until >= today => None,
        Some((until, _)) if until < today => {
            Some(format!("deny.toml: {exception}: {until} is past; still needed?"))
        }
        _ => Some(format!("deny.toml: {exception}: a reason is `until YYYY-MM-DD: why`")),
    }
}

#[test]
fn an_exception_without_a_date_or_after_it_is_found() {
    let fault = |text: &str| fault_of(&toml::Value::Table(text.parse().unwrap()), "2026-11-28");
    assert_eq!(fault(r#"reason = "until 2026-11-28: not reached""#), None);
    assert!(fault(r#"reason = "until 2026-11-27: not reached""#).unwrap().contains("is past"));
    for reason in [r#"id = "RUSTSEC-1""#, r#"reason = "not reached""#, r#"reason = "until 2027: x""#] {
        assert!(fault(reason).unwrap().contains("until YYYY-MM-DD"), "{reason}");
    }
}

#[test]
fn the_reader_of_imports_sees_groups_and_paths_in_code() {
    let text = "use crate::{a::{x, y}, b,\n    c::z};\nfn f() { crate::d::g() } // crate::e\n";
    let file = File { path: "src/m.rs".to_owned(), text: text.to_owned() };
    let used: Vec<String> = modules_used(&file).into_iter().map(|(_, name)| name).collect();
    assert_eq!(used, ["a", "b", "c", "d"]);
    assert!(names_crate("use tokio::time;", "tokio") && !names_crate("use crate::http::x;", "http"));
}
