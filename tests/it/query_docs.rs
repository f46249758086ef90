//! docs/QUERY.md is true: its examples are run against its events.
//!
//! In its tables a column headed `URL`, `JSON`, `body` or `search box` holds a search in backticks; `finds` holds the numbers
//! of the events that each search of the row finds, `says` what each is refused with. An answer stands below a line that
//! ends with a request and "answers"; "…" in it may be anything.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use eventlogger::event::Field;
use eventlogger::query::op::Op;
use eventlogger::query::{MAX_BODY_BYTES, MAX_DEPTH, MAX_IN, MAX_LEAVES, MAX_PATTERNS, MAX_URL_BYTES};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::harness::{Server, tests};
use crate::http::Response;

tests![
    every_search_finds_what_the_document_says,
    every_refusal_says_what_the_document_says,
    every_answer_is_as_the_document_shows_it,
    every_operator_has_an_example_that_tells_events_apart,
    columns_and_limits_are_those_of_the_document,
];

/// What browsers encode of what is pasted; a `%` stands for itself.
const PASTED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'|');

struct Document {
    rows: Vec<Row>,
    blocks: Vec<Block>,
}

/// A row of a table, its cells by their headings.
struct Row {
    line: usize,
    cells: HashMap<String, String>,
}

struct Block {
    language: String,
    text: String,
    /// The line above it that is not empty.
    introduction: String,
}

fn document() -> Document {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/QUERY.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut document = Document { rows: Vec::new(), blocks: Vec::new() };
    let (mut introduction, mut headings) = (String::new(), Vec::new());
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let inside: Vec<&str> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            let (language, introduction) = (language.to_owned(), introduction.clone());
            document.blocks.push(Block { language, text: inside.join("\n"), introduction });
        } else if let Some(cells) = cells(line) {
            if headings.is_empty() {
                headings = cells;
            } else if !cells[0].starts_with("---") {
                let cells = headings.iter().cloned().zip(cells).collect();
                document.rows.push(Row { line: index + 1, cells });
            }
        } else {
            headings.clear();
        }
        if !line.is_empty() {
            line.clone_into(&mut introduction);
        }
    }
    document
}

/// Those of a line of a table. A `|` within is written `\|`.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?.replace("\\|", "\0");
    Some(inner.split('|').map(|cell| cell.trim().replace('\0', "|")).collect())
}

/// All that stands in backticks.
fn codes(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

impl Row {
    /// What is in backticks in the cell under a heading.
    fn code(&self, heading: &str) -> Option<&str> {
        codes(self.cells.get(heading)?).first().copied()
    }

    /// The answers to its searches, by their spellings.
    async fn ask(&self, server: &Server) -> Vec<(&'static str, Response)> {
        let mut answers = Vec::new();
        for spelling in ["URL", "JSON", "body", "search box"] {
            let Some(search) = self.code(spelling) else { continue };
            let request = match spelling {
                "URL" => get(server, &format!("/events/query?{search}")),
                "JSON" => post(server, format!(r#"{{"filter":{search}}}"#)),
                "body" => post(server, search.to_owned()),
                _ => {
                    get(server, &format!("/events/query?q={}", utf8_percent_encode(search, NON_ALPHANUMERIC)))
                }
            };
            answers.push((spelling, request.send().await));
        }
        assert!(!answers.is_empty(), "line {}: a row without a search", self.line);
        answers
    }
}

fn get(server: &Server, pasted: &str) -> crate::http::Request {
    server.client.get(&utf8_percent_encode(pasted, PASTED).to_string())
}

fn post(server: &Server, body: String) -> crate::http::Request {
    server.client.post("/events/query").json(body)
}

/// Records the events of the document; their seqs in its order.
async fn record(server: &Server, document: &Document) -> Vec<u64> {
    let events = document.blocks.iter().find(|block| block.text.starts_with('[')).unwrap();
    let answer = server.client.post("/events/batch?receipt=none").json(events.text.clone()).send().await;
    let answer = answer.json(201);
    answer["results"].as_array().unwrap().iter().map(|result| result["seq"].as_u64().unwrap()).collect()
}

/// What `finds` says, oldest first.
fn expected(finds: &str, all: usize) -> Vec<usize> {
    match finds {
        "all" => (1..=all).collect(),
        "nothing" => Vec::new(),
        numbers => numbers.split(", ").map(|number| number.parse().unwrap()).collect(),
    }
}

async fn every_search_finds_what_the_document_says(server: Arc<Server>) {
    let document = document();
    let seqs = record(&server, &document).await;
    let mut searches = 0;
    for row in document.rows.iter().filter(|row| row.cells.contains_key("finds")) {
        let expected = expected(&row.cells["finds"], seqs.len());
        for (spelling, answer) in row.ask(&server).await {
            let page = answer.json(200);
            assert_eq!(page["complete"], true, "line {}, {spelling}", row.line);
            let found = page["events"].as_array().unwrap().iter().rev();
            let number = |event: &Value| 1 + seqs.iter().position(|seq| event["seq"] == *seq).unwrap();
            let found: Vec<usize> = found.map(number).collect();
            assert_eq!(found, expected, "docs/QUERY.md, line {}, {spelling}", row.line);
            searches += 1;
        }
    }
    assert!(searches > 150, "only {searches} searches were recognized");
}

async fn every_refusal_says_what_the_document_says(server: Arc<Server>) {
    let mut refusals = 0;
    for row in document().rows.iter().filter(|row| row.cells.contains_key("says")) {
        let says = row.code("says").unwrap();
        for (spelling, answer) in row.ask(&server).await {
            let faults = answer.problem(400, "invalid_query")["errors"].clone();
            assert_eq!(faults.as_array().unwrap().len(), 1, "line {}, {spelling}: {faults:#}", row.line);
            assert!(faults.to_string().contains(says), "line {}, {spelling}: {faults:#}", row.line);
            refusals += 1;
        }
    }
    assert!(refusals > 20, "only {refusals} refusals were recognized");
}

async fn every_answer_is_as_the_document_shows_it(server: Arc<Server>) {
    let document = document();
    record(&server, &document).await;
    let (mut answers, mut searches) = (0, 0);
    for block in &document.blocks {
        match block.language.as_str() {
            "json" if block.text.starts_with('[') => {}
            "json" => {
                let request =
                    codes(&block.introduction).pop().filter(|_| block.introduction.ends_with("answers"));
                let request = request.and_then(|request| request.strip_prefix("GET ")).unwrap();
                let answer = get(&server, request).send().await;
                let shown = serde_json::from_str(&block.text).unwrap();
                assert_like(&serde_json::from_slice(&answer.body).unwrap(), &shown, request);
                answers += 1;
            }
            // tests/deploy.sh runs these as they are; here their searches are.
            "sh" => {
                for (before, ending) in [("query?", '"'), ("-d '", '\''), ("'q=", '\'')] {
                    let Some((_, search)) = block.text.split_once(before) else { continue };
                    let search = search.split_once(ending).unwrap().0;
                    let request = match before {
                        "query?" => get(&server, &format!("/events/query?{search}")),
                        "-d '" => post(&server, search.to_owned()),
                        _ => get(
                            &server,
                            &format!("/events?q={}", utf8_percent_encode(search, NON_ALPHANUMERIC)),
                        ),
                    };
                    request.send().await.json(200);
                    searches += 1;
                }
            }
            other => panic!("a block of {other:?} is not tested"),
        }
    }
    assert_eq!((answers, searches), (3, 3));
}

/// The same members everywhere; "…" is anything.
#[track_caller]
fn assert_like(actual: &Value, shown: &Value, context: &str) {
    match (actual, shown) {
        (_, Value::String(text)) if text == "…" => {}
        (Value::Array(_), Value::Array(elements)) if elements == &["…"] => {}
        (Value::Object(actual), Value::Object(shown)) => {
            assert!(actual.keys().eq(shown.keys()), "{context}: {actual:#?}");
            shown.iter().for_each(|(name, shown)| assert_like(&actual[name], shown, context));
        }
        (Value::Array(actual), Value::Array(shown)) => {
            assert_eq!(actual.len(), shown.len(), "{context}: {actual:#?}");
            actual.iter().zip(shown).for_each(|(actual, shown)| assert_like(actual, shown, context));
        }
        _ => assert_eq!(actual, shown, "{context}"),
    }
}

/// That they find it is tested above.
async fn every_operator_has_an_example_that_tells_events_apart(server: Arc<Server>) {
    let document = document();
    let events = record(&server, &document).await.len();
    let of = |name: &'static str| {
        let rows = document.rows.iter();
        rows.filter(move |row| row.cells.get("op").is_some_and(|cell| codes(cell).contains(&name)))
    };
    for name in Op::ALL.map(Op::name) {
        let examples: Vec<&Row> = of(name).filter(|row| row.cells.contains_key("finds")).collect();
        assert!(!examples.is_empty(), "docs/QUERY.md has no example of `{name}`");
        for row in examples {
            let found = expected(&row.cells["finds"], events).len();
            assert!((1..events).contains(&found), "line {} finds {found} of {events}", row.line);
            let (url, json) = (row.code("URL").unwrap(), row.code("JSON").unwrap());
            assert!(url.contains(&format!(":{name}=")) || name == "eq", "line {}: {url}", row.line);
            assert!(json.contains(&format!(r#""op":"{name}""#)), "line {}: {json}", row.line);
            // Patterns are for programs.
            assert_eq!(row.code("search box").is_some(), name != "match", "line {}", row.line);
        }
        let explained = of(name).filter(|row| row.cells.contains_key("of a text")).count();
        assert_eq!(explained, 1, "docs/QUERY.md says {explained} times what `{name}` means");
    }
}

async fn columns_and_limits_are_those_of_the_document(_: Arc<Server>) {
    let document = document();
    for field in Field::all().filter(|field| *field != Field::EventData) {
        let is_of_field = |row: &&Row| codes(&row.cells["column"]).contains(&field.name());
        let row = document.rows.iter().filter(|row| row.cells.contains_key("column")).find(is_of_field);
        let row = row.unwrap_or_else(|| panic!("docs/QUERY.md does not name the column {}", field.name()));
        let (mut named, mut aliases) = (codes(&row.cells["aliases"]), field.aliases().to_vec());
        named.sort_unstable();
        aliases.sort_unstable();
        assert_eq!(named, aliases, "{}", field.name());
    }
    for (name, limit) in [
        ("URL", MAX_URL_BYTES),
        ("body", MAX_BODY_BYTES),
        ("conditions", MAX_LEAVES),
        ("patterns", MAX_PATTERNS),
        ("depth", MAX_DEPTH),
        ("list", MAX_IN),
    ] {
        let is_of_limit = |row: &&Row| row.cells.get("limit").is_some_and(|cell| cell == name);
        let row = document.rows.iter().find(is_of_limit).unwrap();
        let said = row.cells["at most"].split(' ').next().unwrap();
        assert_eq!(said, limit.to_string(), "{name}");
    }
}
