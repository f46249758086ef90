use super::*;
use crate::query::{json, params};

fn sql(query: &str, after: Option<Position>) -> Sql {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs: Vec<_> = pairs
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    page(7, &params::parse(&pairs).unwrap(), after, QUOTA)
}

const QUOTA: Quota = Quota { events: 50, bytes: 8_000_000 };

#[test]
fn what_a_search_costs_is_bounded_one_way_or_the_other() {
    let pairs = [("k".to_owned(), "1".to_owned()), ("from".to_owned(), "2026-01-01T00:00:00Z".to_owned())];
    let search = params::parse(&pairs).unwrap();
    let after = Some(Position { at: Timestamp::from_micros(1_795_132_800_000_000).unwrap(), seq: 41 });
    let statements = [
        walk(7, &search, after, after.map(|after| Position { seq: 7, ..after }), QUOTA),
        last_walked(7, &search, after, 2_000),
        matching(7, &search, after),
        fence(7, &search, after, QUOTA),
    ];
    let shown = statements.map(|sql| format!("{}\n  {:?}\n", sql.text(), sql.binds()));
    insta::assert_snapshot!("bounded", shown.join("\n"));
}

/// The part that depends on the search.
fn selective(sql: &Sql) -> String {
    let from = sql.text().find("WHERE tenant_id").unwrap();
    let to = sql.text().find(") w WINDOW").unwrap();
    let binds: Vec<_> = sql.binds().iter().map(|bind| format!("{bind:?}")).collect();
    format!("{}\n  {}", &sql.text()[from..to], binds.join(" "))
}

#[test]
fn every_part_of_a_page_is_in_its_statement() {
    let sql = sql("", None);
    insta::assert_snapshot!("page", format!("{}\n{:?}", sql.text(), sql.binds()));
}

#[test]
fn searches_compile_to_this_sql() {
    let searches = [
        "user_identity=Asad_Zaman&type=login",
        "account_id=1346",
        "k=-1.5e3&ok=true&gone=null&zip=00123",
        r#"items.0."a.b"."c\"d"."\u0007"=x"#,
        "event_data=7",
        "level=warn&outcome=denied&ip=10.0.0.0/8&seq=9",
        "ip=10.0.0.7",
        "id=01934e5a-7b10-7abc-8def-0123456789ab",
        "id=6ba7b810-9dad-41d1-80b4-00c04fd430c8",
        "amount:gte=100&due:lt=2026&k:gt=-1",
        "type:not=login&type:in=a,b&level:gte=warn&seq:in=1,2&ip:in=10.0.0.0/8,::1&ip:in=10.0.0.1,10.0.0.2",
        "id:in=01934e5a-7b10-7abc-8def-0123456789ab,01934e5a-7b10-7abc-8def-0123456789ac",
        "received_at:in=2026-01-01T00:00:00Z,2026-01-02T00:00:00Z&message:lt=x&message:prefix=x&type:prefix=logz",
        "message:contains=tls 1.3&path:contains=a&path:match=^/v[0-9]+$&path:prefix=/a",
        "city:exists=&zip:exists=false&source:exists=true&client.ip:cidr=10.0.0.0/8&city:in=Paris,75",
        "q=-a (type:x OR k:>5) NOT (city:(Paris, Lyon) x)",
        "from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z&received_from=2026-01-01T00:00:00Z&received_to=2026-03-01T00:00:00Z",
    ];
    let shown = searches.map(|search| format!("{search}\n  {}\n", selective(&sql(search, None))));
    insta::assert_snapshot!("searches", shown.join("\n"));
}

#[test]
fn a_page_resumes_where_an_index_can_start() {
    let after = Some(Position { at: Timestamp::from_micros(1_795_132_800_000_000).unwrap(), seq: 41 });
    let shown = ["limit=5", "sort=timestamp&limit=5"].map(|search| selective(&sql(search, after)));
    insta::assert_snapshot!("resumed", shown.join("\n\n"));
}

#[test]
fn exact_values_of_the_json_spelling_compile_to_one_comparison() {
    let body =
        br#"{"filter": {"and": [{"field": "a", "value": 100}, {"and": [{"field": "b", "value": "100"}]}]}}"#;
    let sql = page(7, &json::parse(body).unwrap(), None, QUOTA);
    insta::assert_snapshot!("json", selective(&sql));
}

#[test]
fn no_text_of_a_client_stands_in_the_sql() {
    let hostile = r#"x'; DROP TABLE events; -- " \ $1 ?"#;
    let pairs = [("\"x'; DROP\"", hostile), ("message", hostile)];
    let search = params::parse(&pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap();
    let sql = page(7, &search, None, QUOTA);
    assert!(!sql.text().contains("DROP"));
    assert!(sql.binds().contains(&Bind::Text(hostile.to_owned())));
}

#[test]
fn an_id_names_the_millisecond_in_which_it_was_made() {
    let id = Uuid::parse_str("01934e5a-7b10-7abc-8def-0123456789ab").unwrap();
    let (from, to) = id_millisecond(id).unwrap();
    assert_eq!(from.as_micros(), 0x0193_4e5a_7b10 * 1000);
    assert_eq!(to.as_micros() - from.as_micros(), 1000);
    assert_eq!(id_millisecond(Uuid::max()), None);
    assert_eq!(id_millisecond(Uuid::parse_str("ffffffff-ffff-7fff-bfff-ffffffffffff").unwrap()), None);
}

#[test]
fn the_end_of_a_prefix_is_the_next_text_behind_all_of_it() {
    let shown = |prefix: &str| condition::after_prefix(prefix).map(|end| end.escape_unicode().to_string());
    assert_eq!(condition::after_prefix("abc").as_deref(), Some("abd"));
    assert_eq!(condition::after_prefix("a\u{10ffff}").as_deref(), Some("b"));
    assert_eq!(shown("\u{d7ff}").as_deref(), Some("\\u{e000}"));
    assert_eq!(shown("\u{10ffff}"), None);
}
