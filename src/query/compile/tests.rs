use super::*;
use crate::query::{json, params};

fn sql(query: &str, after: Option<Position>) -> Sql {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs: Vec<_> = pairs
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    page(7, &params::parse(&pairs).unwrap(), after)
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
    let sql = page(7, &json::parse(body).unwrap(), None);
    insta::assert_snapshot!("json", selective(&sql));
}

#[test]
fn no_text_of_a_client_stands_in_the_sql() {
    let hostile = r#"x'; DROP TABLE events; -- " \ $1 ?"#;
    let pairs = [("\"x'; DROP\"", hostile), ("message", hostile)];
    let search = params::parse(&pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap();
    let sql = page(7, &search, None);
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
