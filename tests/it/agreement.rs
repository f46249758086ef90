//! PostgreSQL and the evaluator find the same, whatever the filter and whatever was recorded.

use std::sync::Arc;

use eventlogger::event::Event;
use eventlogger::query::evaluate::Subject;
use eventlogger::query::json;
use eventlogger::store::events;
use serde_json::{Value, json};

use crate::harness::{Server, tests};

tests![random_filters_find_the_same_in_sql_and_in_memory, addresses_are_read_alike,];

/// More with AGREEMENT_ROUNDS, other ones with AGREEMENT_SEED.
const ROUNDS: u64 = 600;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// xorshift64*: the same filters for the same seed, everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.roll(all.len())]
    }
}

const TEXTS: [&str; 36] = [
    "",
    "a",
    "A",
    "ab",
    "Paris",
    "PARIS",
    "paris",
    "straße",
    "STRASSE",
    "STRAẞE",
    "ſ",
    "s",
    "K",
    "k",
    "İ",
    "ı",
    "i",
    "Σας",
    "σΑΣ",
    "10",
    "1e1",
    "10.0",
    "2026-01-01",
    "10.0.0.7",
    "10.0.0.07",
    "::ffff:10.0.0.7",
    "fe80::1",
    "::1",
    "a\nb",
    "a.b",
    "x😀y",
    "true",
    "null",
    "a%b_c\\d",
    "\u{7f}é\u{300}",
    "(a|b)*",
];

/// As JSON texts: what serde_json would change must get through.
const NUMBERS: [&str; 16] = [
    "0",
    "-0",
    "1",
    "1.0",
    "10",
    "1e1",
    "10.00",
    "9007199254740993",
    "9007199254740992",
    "-1.5",
    "0.1",
    "1e-300",
    "123456789012345678901234567890",
    "1E2",
    "100",
    "1e400",
];

const KEYS: [&str; 5] = ["a", "b", "odd key", "0", "ß"];

fn scalar(dice: &mut Dice) -> String {
    match dice.roll(8) {
        0 => "null".to_owned(),
        1 => "true".to_owned(),
        2 => "false".to_owned(),
        3..=4 => (*dice.pick(&NUMBERS)).to_owned(),
        _ => json!(dice.pick(&TEXTS)).to_string(),
    }
}

fn document(dice: &mut Dice, depth: usize) -> String {
    match dice.roll(if depth == 0 { 3 } else { 7 }) {
        0..=2 => scalar(dice),
        3..=4 => {
            let members: Vec<_> = (0..dice.roll(4))
                .map(|_| format!("{}:{}", json!(dice.pick(&KEYS)), document(dice, depth - 1)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        _ => {
            let elements: Vec<_> = (0..dice.roll(4)).map(|_| document(dice, depth - 1)).collect();
            format!("[{}]", elements.join(","))
        }
    }
}

fn event(dice: &mut Dice) -> String {
    let nonempty = |dice: &mut Dice| json!(dice.pick(&TEXTS[1..])).to_string();
    let mut members = vec![
        format!(r#""event_type":{}"#, nonempty(dice)),
        format!(r#""user_identity":{}"#, nonempty(dice)),
        format!(r#""timestamp":"2026-01-0{}T00:00:00Z""#, 1 + dice.roll(3)),
        format!(r#""level":"{}""#, dice.pick(&["DEBUG", "INFO", "WARN", "ERROR"])),
    ];
    for (name, values) in [
        ("source", &TEXTS[1..]),
        ("target", &TEXTS[1..]),
        ("message", &TEXTS[1..]),
        ("outcome", &["success", "denied"]),
        ("ip", &["10.0.0.7", "10.1.0.1", "::ffff:10.0.0.7", "fe80::1", "::1"]),
        ("correlation_id", &TEXTS[1..]),
    ] {
        if dice.roll(2) == 0 {
            members.push(format!(r#""{name}":{}"#, json!(dice.pick(values))));
        }
    }
    if dice.roll(8) > 0 {
        members.push(format!(r#""event_data":{}"#, document(dice, 3)));
    }
    format!("{{{}}}", members.join(","))
}

fn path(dice: &mut Dice) -> String {
    let segments = (0..dice.roll(4)).map(|_| match dice.roll(4) {
        0 => format!(".{}", dice.roll(3)),
        _ => format!(".{}", json!(dice.pick(&KEYS))),
    });
    let segments: String = segments.collect();
    format!("event_data{segments}")
}

fn regex(dice: &mut Dice, depth: usize) -> String {
    match dice.roll(if depth == 0 { 6 } else { 10 }) {
        0..=2 => (*dice.pick(&["a", "b", "P", "ß", "😀", r"\.", "0", r"\n"])).to_owned(),
        3 => (*dice.pick(&[r"\d", r"\w", r"\s", r"\D", r"\W", r"\S", "."])).to_owned(),
        4 => (*dice.pick(&["[a-f]", "[^a]", "[^\\n]", "[ſs]", r"[\d.]", "[a-cß-ÿ]", "[^\\W]"])).to_owned(),
        5 => (*dice.pick(&["^", "$", "", "x|y"])).to_owned(),
        6 => {
            let repeat = *dice.pick(&["*", "+", "?", "{2}", "{0,2}", "*?", "{1,}", "{0}"]);
            format!("(?:{}){repeat}", regex(dice, depth - 1))
        }
        7 => format!("({}|{})", regex(dice, depth - 1), regex(dice, depth - 1)),
        _ => format!("{}{}", regex(dice, depth - 1), regex(dice, depth - 1)),
    }
}

fn leaf(dice: &mut Dice) -> String {
    if dice.roll(10) == 0 {
        return format!(r#"{{"text":{}}}"#, json!(dice.pick(&TEXTS[1..])));
    }
    let columns = [
        "event_type",
        "user_identity",
        "source",
        "target",
        "message",
        "correlation_id",
        "level",
        "outcome",
        "ip",
        "seq",
        "timestamp",
        "recorded_by",
    ];
    let field = if dice.roll(3) == 0 { (*dice.pick(&columns)).to_owned() } else { path(dice) };
    let ops = [
        "eq", "eq", "not", "gt", "gte", "lt", "lte", "in", "not-in", "contains", "prefix", "match", "cidr",
        "exists",
    ];
    let op = *dice.pick(&ops);
    let value = match (op, field.as_str()) {
        ("exists", _) => dice.pick(&["true", "false"]).to_string(),
        ("match", _) => json!(regex(dice, 3)).to_string(),
        ("cidr", _) => {
            json!(dice.pick(&["10.0.0.0/8", "10.0.0.7", "::/0", "0.0.0.0/0", "fe80::/10"])).to_string()
        }
        ("in" | "not-in", "level") => r#"["WARN","INFO"]"#.to_owned(),
        ("in" | "not-in", _) => {
            let values: Vec<_> = (0..1 + dice.roll(4)).map(|_| scalar(dice)).collect();
            format!("[{}]", values.join(","))
        }
        (_, "level") => r#""warn""#.to_owned(),
        (_, "outcome") => r#""denied""#.to_owned(),
        (_, "ip") => json!(dice.pick(&["10.0.0.7", "10.0.0.0/9", "::1"])).to_string(),
        (_, "seq") => dice.roll(100).to_string(),
        (_, "timestamp") => r#""2026-01-02T00:00:00Z""#.to_owned(),
        _ => scalar(dice),
    };
    format!(r#"{{"field":{},"op":"{op}","value":{value}}}"#, json!(field))
}

fn filter(dice: &mut Dice, depth: usize) -> String {
    let some = |dice: &mut Dice, least| {
        let filters: Vec<_> = (0..least + dice.roll(3)).map(|_| filter(dice, depth - 1)).collect();
        filters.join(",")
    };
    match dice.roll(if depth == 0 { 1 } else { 5 }) {
        0 | 1 => leaf(dice),
        2 => format!(r#"{{"and":[{}]}}"#, some(dice, 0)),
        3 => format!(r#"{{"or":[{}]}}"#, some(dice, 1)),
        _ => format!(r#"{{"not":{}}}"#, filter(dice, depth - 1)),
    }
}

async fn all_events(server: &Server) -> Vec<Event> {
    let everything = json::parse(br#"{"limit":1000}"#).unwrap();
    let page = events::page(&server.store.query, 1, &everything, None).await.unwrap();
    assert!(!page.more);
    page.events
}

async fn random_filters_find_the_same_in_sql_and_in_memory(server: Arc<Server>) {
    let seed = from_environment("AGREEMENT_SEED", 20_261_129);
    let mut dice = Dice(seed | 1);
    let items: Vec<_> = (0..250).map(|_| event(&mut dice)).collect();
    let body = format!("[{}]", items.join(","));
    server.client.post("/events/batch?receipt=none").json(body).send().await.json(201);
    let all = all_events(&server).await;
    let subjects: Vec<_> = all.iter().map(Subject::new).collect();
    let (mut understood, mut selective) = (0, 0);
    let rounds = from_environment("AGREEMENT_ROUNDS", ROUNDS);
    for round in 0..rounds {
        let filter = filter(&mut dice, 3);
        let Ok(search) = json::parse(format!(r#"{{"filter":{filter},"limit":1000}}"#).as_bytes()) else {
            continue;
        };
        understood += 1;
        let printed = format!(r#"{{"filter":{},"limit":1000}}"#, search.filter);
        assert_eq!(json::parse(printed.as_bytes()).unwrap(), search, "{printed}");
        let page = events::page(&server.store.query, 1, &search, None).await;
        let page = page.unwrap_or_else(|error| panic!("seed {seed}, round {round}: {filter}: {error:?}"));
        let in_sql: Vec<_> = page.events.iter().map(|event| event.seq).collect();
        let in_memory: Vec<_> = all
            .iter()
            .zip(&subjects)
            .filter(|(_, subject)| subject.passes(&search.filter))
            .map(|(event, _)| event.seq)
            .collect();
        let differing = in_sql.iter().find(|seq| !in_memory.contains(seq));
        let differing = differing.or_else(|| in_memory.iter().find(|seq| !in_sql.contains(seq)));
        let event = differing.map(|seq| all.iter().find(|event| event.seq == *seq));
        assert_eq!(in_sql, in_memory, "seed {seed}, round {round}: {filter}\nfor example {event:?}");
        selective += usize::from(!in_sql.is_empty() && in_sql.len() < all.len());
    }
    // A test of filters that find nothing, or all, would show little.
    assert!(understood * 3 > rounds as usize, "only {understood} of {rounds} filters were understood");
    assert!(selective * 4 > understood, "only {selective} of {understood} filters tell events apart");
}

/// By `event_address` and by the standard library.
async fn addresses_are_read_alike(server: Arc<Server>) {
    let spellings = [
        "10.0.0.7",
        "10.0.0.07",
        "010.0.0.7",
        "10.0.0",
        "10.0.0.256",
        "10.0.0.7/32",
        " 10.0.0.7",
        "10.0.0.7\n",
        "1.2.3.4.5",
        "0.0.0.0",
        "255.255.255.255",
        "::",
        "::1",
        "1::",
        "fe80::1%eth0",
        "1:2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7::",
        "::2:3:4:5:6:7:8",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1::2::3",
        ":::",
        ":1",
        "1:",
        "12345::",
        "00001::",
        "::ffff:10.0.0.7",
        "::FFFF:10.0.0.7",
        "::ffff:010.0.0.7",
        "::10.0.0.7",
        "::ffff:0:10.0.0.7",
        "1:2:3:4:5:6:10.0.0.7",
        "::ffff:a00:7",
        "2001:DB8::1",
        "::1/128",
        "1:2:3:4:5:6:7:10.0.0.7",
        "::ffff:10.0.0",
        "",
        ".",
        ":",
        "a",
        "g::1",
        "::127.1",
    ];
    let events: Vec<Value> = spellings
        .iter()
        .map(|spelled| json!({"event_type": "t", "user_identity": "u", "event_data": {"at": spelled}}))
        .collect();
    server.client.post("/events/batch?receipt=none").json(json!(events).to_string()).send().await.json(201);
    let all = all_events(&server).await;
    for network in ["0.0.0.0/0", "::/0", "10.0.0.0/24", "::ffff:0:0/96"] {
        let filter = json!({"filter": {"field": "at", "op": "cidr", "value": network}, "limit": 1000});
        let search = json::parse(filter.to_string().as_bytes()).unwrap();
        let page = events::page(&server.store.query, 1, &search, None).await.unwrap();
        let shown = |events: Vec<&Event>| -> Vec<_> {
            let text = |event: &Event| String::from_utf8(event.payload.clone().unwrap()).unwrap();
            events.into_iter().map(text).collect()
        };
        let in_memory = all.iter().filter(|event| Subject::new(event).passes(&search.filter)).collect();
        assert_eq!(shown(page.events.iter().collect()), shown(in_memory), "{network}");
    }
}
