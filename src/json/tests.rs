use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

fn error(text: &str) -> SyntaxError {
    Scanner::check(text.as_bytes()).expect_err(text)
}

fn tokens(bytes: &[u8]) -> Vec<(Kind, String)> {
    let mut scanner = Scanner::new(bytes).unwrap();
    let mut tokens = Vec::new();
    while let Some(token) = scanner.next_token().unwrap() {
        tokens.push((token.kind, scanner.raw(token).to_owned()));
    }
    tokens
}

#[test]
fn odd_but_valid_documents_are_accepted() {
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    let deep_objects = r#"{"a":"#.repeat(200_000) + "1" + &"}".repeat(200_000);
    let wide = format!("[{}0]", "0,".repeat(1_000_000));
    for text in [
        "0",
        "-0",
        "1E2",
        "1e400",
        "1e131071",
        "-1.5e-999999999999999999999",
        "0e0",
        "9007199254740993",
        "1.000000000000000005",
        r#""\u0000""#,
        r#""\ud800""#,
        r#""\udc00\ud800x""#,
        r#""\ud83d\ude00""#,
        r#"{"a":1,"a":2}"#,
        r#"{"":{}}"#,
        " \t\r\n[ ] ",
        "\"\u{7f}\u{2028}é😀\"",
        "true",
        "null",
        &deep,
        &deep_objects,
        &wide,
    ] {
        assert_eq!(Scanner::check(text.as_bytes()), Ok(()), "{:.40}", text);
    }
}

#[test]
fn an_error_says_where_and_what_was_expected() {
    let position = |text: &str| {
        let error = error(text);
        (error.offset, error.line, error.column)
    };
    assert_eq!(position("{\n  \"é\": tru\n}"), (10, 2, 8));
    assert_eq!(position(r#"{"é"1}"#), (5, 1, 5));
    assert_eq!(position("[1,\r\n2,,]"), (7, 2, 3));
    assert_eq!(position(""), (0, 1, 1));
    for (text, expected) in [
        ("", "line 1, column 1: expected a value, found the end of the input"),
        ("[1 2]", "line 1, column 4: expected `,` or `]`, found `2`"),
        (r#"{"a" 1}"#, "line 1, column 6: expected `:` after the name, found `1`"),
        (r#"{"a":1"#, "line 1, column 7: expected `,` or `}`, found the end of the input"),
        ("[1}", "line 1, column 3: expected `,` or `]`, found `}`"),
        (r#"{"a":1]"#, "line 1, column 7: expected `,` or `}`, found `]`"),
        ("{} {}", "line 1, column 4: expected nothing after the document, found `{`"),
        ("nul", "line 1, column 1: expected a value, found `nul`"),
        ("nullx", "line 1, column 5: expected nothing after the document, found `x`"),
        ("\"a", "line 1, column 3: expected the closing `\"` of the string, found the end of the input"),
        (
            r#""\x""#,
            r#"line 1, column 2: expected one of the escapes \" \\ \/ \b \f \n \r \t \uXXXX, found `\x`"#,
        ),
        (r#""\u12g4""#, r"line 1, column 2: expected four hexadecimal digits after \u, found `\u`"),
        (
            "\"a\tb\"",
            r"line 1, column 3: expected control characters as escapes, such as \n, found the control character U+0009",
        ),
        ("-", "line 1, column 2: expected a digit, found the end of the input"),
        ("01", "line 1, column 2: expected a number without leading zeros, found `1`"),
        ("1.", "line 1, column 3: expected a digit after the decimal point, found the end of the input"),
        ("1e+", "line 1, column 4: expected a digit of the exponent, found the end of the input"),
        ("\u{a0}1", "line 1, column 1: expected a value, found `\u{a0}`"),
    ] {
        assert_eq!(error(text).to_string(), expected, "{text}");
    }
}

#[test]
fn common_mistakes_come_with_a_hint() {
    for (text, hint) in [
        ("\u{feff}{}", "byte order mark"),
        ("{'a':1}", "double quotes"),
        ("{a:1}", "double quotes"),
        (r#"{"a":1,}"#, "remove the comma"),
        ("[1,\n]", "remove the comma"),
        ("[1 // one\n]", "no comments"),
        ("/* */ 1", "no comments"),
        ("NaN", "no NaN"),
        ("[-Infinity]", "no NaN"),
        ("[True]", "true, false and null"),
        ("[None]", "true, false and null"),
        ("+1", "starts with a digit"),
        (".5", "starts with a digit"),
    ] {
        let found = error(text).hint.unwrap_or_default();
        assert!(found.contains(hint), "{text}: {found}");
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_refused_with_their_position() {
    let error = Scanner::check(b"[\"\xc3\xa9\",\n\"a\xff\"]").unwrap_err();
    assert_eq!((error.offset, error.line, error.column), (9, 2, 3));
    assert_eq!((error.expected, error.found.as_str()), ("UTF-8", "the byte 0xff"));
    assert!(Scanner::check(b"\"\xed\xa0\x80\"").is_err(), "a surrogate encoded as UTF-8");
    assert!(Scanner::check(b"\"\xc0\x80\"").is_err(), "an overlong form");
}

#[test]
fn strings_are_decoded_and_what_text_cannot_hold_is_replaced() {
    for (raw, text) in [
        (r#""""#, ""),
        (r#""plain é""#, "plain é"),
        (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r#""\u00e9\u00E9""#, "éé"),
        (r#""\ud83d\ude00\uD83D\uDE00""#, "😀😀"),
        (r#""a\u0000b""#, "a\u{fffd}b"),
        (r#""\ud800""#, "\u{fffd}"),
        (r#""\ud800\ud83d\ude00""#, "\u{fffd}😀"),
        (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
        (r#""\ud800\u0041""#, "\u{fffd}A"),
        (r#""\ud800\\u""#, "\u{fffd}\\u"),
        (r#""\uffff""#, "\u{ffff}"),
    ] {
        assert_eq!(decode(raw), text, "{raw}");
    }
}

#[test]
fn strings_that_text_cannot_hold_are_marked() {
    let kinds: Vec<Kind> = tokens(br#"["a","\n","\u0000","\ud800x","\ud83d\ude00","\u0000\n"]"#)
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    let texts =
        [Text::Plain, Text::Escaped, Text::Irregular, Text::Irregular, Text::Escaped, Text::Irregular];
    assert_eq!(kinds[1..7], texts.map(Kind::String));
}

#[test]
fn an_object_is_taken_apart_one_level_deep() {
    let text = r#" { "a" : [1, {"b":2}] , "\u0061":"x", "c": {} } "#;
    let members = members(text.as_bytes()).unwrap();
    let shown: Vec<_> =
        members.iter().map(|it| (it.raw_key, it.key.as_ref(), &text[it.value.clone()])).collect();
    let expected =
        [(r#""a""#, "a", r#"[1, {"b":2}]"#), (r#""\u0061""#, "a", r#""x""#), (r#""c""#, "c", "{}")];
    assert_eq!(shown, expected);
    assert_eq!(super::members(b"{}"), Ok(vec![]));
    assert_eq!(
        super::members(b" [1]").unwrap_err().to_string(),
        "line 1, column 2: expected an object, found `[`"
    );
    assert!(super::members(br#"{"a":1} x"#).is_err());
}

#[test]
fn an_array_is_taken_apart_one_level_deep() {
    let text = r#"[ {"a": [1]} , [ ] ,3]"#;
    let elements: Vec<&str> =
        elements(text.as_bytes()).unwrap().into_iter().map(|range| &text[range]).collect();
    assert_eq!(elements, [r#"{"a": [1]}"#, "[ ]", "3"]);
    assert_eq!(super::elements(b"[]"), Ok(vec![]));
    assert_eq!(super::elements(b"{}").unwrap_err().expected, "an array");
    assert!(super::elements(b"[1,]").is_err());
}

#[test]
fn minified_tokens_are_the_bytes_that_were_sent() {
    let text = " { \"a b\" : [ 1E2 , -0 , 1e400 ] ,\n\"a b\" : \"\\u0000 \\/\" , \"c\" : { } } ";
    assert_eq!(minify(text.as_bytes()).unwrap(), r#"{"a b":[1E2,-0,1e400],"a b":"\u0000 \/","c":{}}"#);
}

/// Tokens, white space and near misses, from which documents are put together.
fn fragment() -> impl Strategy<Value = String> {
    let texts = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\ud83d\\ude00\"",
        "\"é😀\"",
        "0",
        "-0",
        "1e400",
        "1E2",
        "-1.50e-3",
        "9007199254740993",
        "true",
        "false",
        "null",
        " ",
        "\n",
        "\t",
        "\r",
        "'",
        "/",
        "NaN",
        "01",
        "1.",
        ".5",
        "+1",
        "\u{feff}",
        "\"\\x\"",
        "\"\t\"",
        "\"\\u12\"",
        "\"",
        "\\",
        "\u{b}",
    ];
    proptest::sample::select(texts.map(str::to_owned).to_vec())
}

/// Valid documents, with white space.
pub(crate) fn document() -> impl Strategy<Value = String> {
    let string = prop_oneof![
        "[a-c]{0,2}".prop_map(|text| format!("{text:?}")),
        any::<String>().prop_map(|text| quote(&text)),
        proptest::sample::select(vec![
            r#""\u0000""#,
            r#""\ud800""#,
            r#""\ud83d\ude00\u00e9""#,
            r#""a\udc00\/""#
        ])
        .prop_map(str::to_owned),
    ];
    let number = prop_oneof![
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
        "-?(0|[1-9][0-9]{300,420})(\\.[0-9]{1,420})?([eE][+-]?[0-9]{1,4})?",
    ];
    let literal =
        proptest::sample::select(vec!["true", "false", "null", "[]", "{}", "[ ]"]).prop_map(str::to_owned);
    let leaf = prop_oneof![string.clone(), number, literal];
    let space = "[ \t\r\n]{0,1}";
    leaf.prop_recursive(6, 64, 8, move |inner| {
        let array = (proptest::collection::vec(inner.clone(), 0..8), space)
            .prop_map(|(items, space)| format!("[{space}{}]", items.join(&format!(",{space}"))));
        let member =
            (string.clone(), space, inner).prop_map(|(key, space, value)| format!("{key}{space}:{value}"));
        let object = (proptest::collection::vec(member, 0..8), space)
            .prop_map(|(members, space)| format!("{{{}{space}}}", members.join(&format!("{space},"))));
        prop_oneof![array, object]
    })
}

fn agrees_with_serde(bytes: &[u8]) -> Result<(), TestCaseError> {
    let oracle = serde_json::from_slice::<&RawValue>(bytes).is_ok();
    let own = Scanner::check(bytes);
    prop_assert_eq!(own.is_ok(), oracle, "{:?} {:?}", String::from_utf8_lossy(bytes), own);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn generated_documents_are_accepted(text in document()) {
        prop_assert_eq!(Scanner::check(text.as_bytes()), Ok(()));
        agrees_with_serde(text.as_bytes())?;
    }

    #[test]
    fn damaged_documents_are_accepted_exactly_if_serde_accepts_them(
        text in document(), at: prop::sample::Index, byte: u8, fragment in fragment(), how in 0..4,
    ) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        match how {
            0 => bytes.truncate(at),
            1 => bytes[at] = byte,
            2 => drop(bytes.remove(at)),
            _ => drop(bytes.splice(at..at, fragment.into_bytes())),
        }
        agrees_with_serde(&bytes)?;
    }

    #[test]
    fn rows_of_fragments_are_accepted_exactly_if_serde_accepts_them(
        fragments in proptest::collection::vec(fragment(), 0..8),
    ) {
        agrees_with_serde(fragments.concat().as_bytes())?;
    }

    #[test]
    fn errors_of_any_bytes_lie_inside_them(bytes: Vec<u8>) {
        if let Err(error) = Scanner::check(&bytes) {
            prop_assert!(error.offset <= bytes.len() && !error.to_string().is_empty());
        }
    }

    #[test]
    fn minifying_preserves_every_token_and_is_done_after_once(text in document()) {
        let minified = minify(text.as_bytes()).unwrap();
        prop_assert_eq!(tokens(minified.as_bytes()), tokens(text.as_bytes()));
        prop_assert_eq!(&minify(minified.as_bytes()).unwrap(), &minified);
        prop_assert!(minified.len() <= text.len());
    }

    #[test]
    fn quoting_writes_what_serde_writes_and_decodes_back(text: String) {
        let quoted = quote(&text);
        prop_assert_eq!(&quoted, &serde_json::to_string(&text).unwrap());
        prop_assert_eq!(decode(&quoted), text.replace('\0', "\u{fffd}"));
    }

    #[test]
    fn elements_put_together_again_are_the_array(items in proptest::collection::vec(document(), 0..6)) {
        let text = format!("[{}]", items.join(","));
        let ranges = elements(text.as_bytes()).unwrap();
        let found: Vec<&str> = ranges.into_iter().map(|range| &text[range]).collect();
        let trimmed: Vec<&str> = items.iter().map(|item| item.trim()).collect();
        prop_assert_eq!(found, trimmed);
    }
}
