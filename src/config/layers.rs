//! The layers over the defaults: each yields settings that are known, well typed and know their origin.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use config::{FileFormat, Map, Source, Value, ValueKind};

use super::{ConfigError, DEFAULTS, Fault, Origin, client, rules, unexpected};
use crate::event::nearest_name;

const PREFIX: &str = "EVENTLOGGER_";
/// Variables with our prefix that are read elsewhere: by the command line and by deploy.sh.
const NOT_KEYS: [&str; 3] = ["EVENTLOGGER_CONFIG", "EVENTLOGGER_BINARY", "EVENTLOGGER_BUILD_PROFILE"];
const SECRETS: [&str; 3] = ["admin_password", "database.password", "database.url"];
const SECRET_FILE_BYTES: u64 = 64 * 1024;

/// Every key with its default, whose kind is the key's type.
pub(super) type Known = BTreeMap<String, ValueKind>;

pub(super) struct Setting {
    pub(super) key: String,
    pub(super) value: ValueKind,
    pub(super) origin: Origin,
}

pub(super) fn known() -> Result<Known, ConfigError> {
    let table = config::File::from_str(DEFAULTS, FileFormat::Toml).collect().map_err(unexpected)?;
    let mut known = Known::new();
    flatten("", table, &mut |key, value| {
        known.insert(key, value);
    });
    Ok(known)
}

/// Reads a configuration file.
pub(super) fn file(path: &Path, known: &Known, settings: &mut Vec<Setting>, faults: &mut Vec<Fault>) {
    let origin = Origin::File(path.to_owned());
    let table = std::fs::read_to_string(path)
        .map_err(|error| format!("the configuration file cannot be read: {error}"))
        .and_then(|text| {
            let parsed = config::File::from_str(&text, FileFormat::Toml).collect();
            parsed.map_err(|_| syntax_fault(&text))
        });
    match table {
        Ok(table) => flatten("", table, &mut |key, value| match known_key(&key, known, as_key)
            .and_then(|_| rules::check(&key, &value))
        {
            Ok(()) => settings.push(Setting { key, value, origin: origin.clone() }),
            Err(detail) => faults.push(Fault { origin: Some(origin.clone()), detail }),
        }),
        Err(detail) => faults.push(Fault { origin: Some(origin), detail }),
    }
}

/// The place and the reason, without the line itself, which may hold a secret.
fn syntax_fault(text: &str) -> String {
    let error = toml::from_str::<toml::Table>(text).err();
    let reason = error.as_ref().map_or("it cannot be parsed", |error| error.message());
    let start = error.as_ref().and_then(|error| error.span()).map_or(0, |span| span.start);
    let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
    format!("this is not TOML, line {line}: {reason}")
}

fn flatten(prefix: &str, table: Map<String, Value>, each: &mut impl FnMut(String, ValueKind)) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value.kind {
            ValueKind::Table(inner) => flatten(&key, inner, each),
            kind => each(key, kind),
        }
    }
}

/// `spelt` writes a key the way this layer's author would have to.
fn known_key<'a>(key: &str, known: &'a Known, spelt: fn(&str) -> String) -> Result<&'a ValueKind, String> {
    if let Some(default) = known.get(key) {
        return Ok(default);
    }
    if known.keys().any(|name| name.starts_with(&format!("{key}."))) {
        return Err(format!("`{key}` is a section, not a value"));
    }
    Err(match nearest_name(key, known.keys().map(String::as_str)) {
        Some(near) => format!("there is no key `{key}`; did you mean {}?", spelt(near)),
        None => format!("there is no key `{key}`; `eventlogger config --defaults` lists all of them"),
    })
}

fn as_key(key: &str) -> String {
    format!("`{key}`")
}

fn as_variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}

/// The environment, read once.
pub(super) struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    pub(super) fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self(variables.into_iter().collect())
    }

    /// Reads the variables that carry our prefix.
    pub(super) fn settings(&self, known: &Known, settings: &mut Vec<Setting>, faults: &mut Vec<Fault>) {
        let mut seen = BTreeSet::new();
        for (name, text) in &self.0 {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
            if NOT_KEYS.contains(&name) || client::VARIABLES.contains(&name) {
                continue;
            }
            match variable(name, text, known) {
                Ok(setting) if seen.insert(setting.key.clone()) => settings.push(setting),
                Ok(setting) => faults.push(Fault {
                    origin: Some(setting.origin),
                    detail: format!("`{}` is also given without _FILE; keep one of the two", setting.key),
                }),
                Err(fault) => faults.push(fault),
            }
        }
    }

    pub(super) fn data_dir(&self) -> Option<PathBuf> {
        if rustix::process::geteuid().is_root() {
            return Some("/var/lib/eventlogger".into());
        }
        let base = self.folder("XDG_DATA_HOME").filter(|path| path.is_absolute());
        let base = base.or_else(|| self.folder("HOME").map(|home| home.join(".local/share")));
        base.map(|base| base.join("eventlogger"))
    }

    pub(super) fn pg_bin(&self) -> Option<PathBuf> {
        self.folder("PG_BIN")
    }

    pub(super) fn runtime_dir(&self) -> Option<PathBuf> {
        self.folder("XDG_RUNTIME_DIR")
    }

    fn folder(&self, name: &str) -> Option<PathBuf> {
        self.0.get(OsStr::new(name)).filter(|path| !path.is_empty()).map(PathBuf::from)
    }
}

/// `EVENTLOGGER_SERVER__LISTEN` is `server.listen`.
fn variable(name: &str, text: &OsStr, known: &Known) -> Result<Setting, Fault> {
    let key = name[PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
    let origin = Origin::Variable(name.to_owned());
    let fail = |detail| Fault { origin: Some(origin.clone()), detail };
    if let Some(key) = key.strip_suffix("_file").filter(|key| SECRETS.contains(key)) {
        let path = PathBuf::from(text);
        let value = secret_file(&path).map_err(fail)?;
        rules::check(key, &value).map_err(fail)?;
        return Ok(Setting { key: key.to_owned(), value, origin: Origin::SecretFile(path, name.to_owned()) });
    }
    let default = known_key(&key, known, as_variable).map_err(fail)?;
    let text = text.to_str().ok_or_else(|| fail(format!("`{key}` is not UTF-8")))?;
    let value = typed(text, default);
    rules::check(&key, &value).map_err(fail)?;
    Ok(Setting { key, value, origin })
}

/// The text as the default's type where it is one; where it is not, `rules::check` refuses the text.
fn typed(text: &str, default: &ValueKind) -> ValueKind {
    match default {
        ValueKind::I64(_) => match text.trim().replace('_', "").parse() {
            Ok(number) => ValueKind::I64(number),
            Err(_) => text.into(),
        },
        ValueKind::Boolean(_) => match text.trim() {
            "true" => true.into(),
            "false" => false.into(),
            _ => text.into(),
        },
        ValueKind::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            items.map(str::to_owned).collect::<Vec<_>>().into()
        }
        _ => text.into(),
    }
}

/// The first line of a secret's file: editors and `echo` end it with a newline that is not meant.
fn secret_file(path: &Path) -> Result<ValueKind, String> {
    use std::io::Read;

    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(SECRET_FILE_BYTES).read_to_string(&mut text))
        .map_err(|error| format!("the secret in {} cannot be read: {error}", path.display()))?;
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(line.into()),
        None => Err(format!("the secret file {} has no text in its first line", path.display())),
    }
}
