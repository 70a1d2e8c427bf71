//! Bodies of requests: read within their limit, then decoded. What is wrong is said by naming the field and the rule,
//! never by repeating a value: it may be a plaintext, or the name of a patient.

use axum::{
    body::Body,
    extract::Query,
    http::{HeaderMap, Uri, header},
};
use http_body_util::BodyExt as _;
use kms_client::wire::batch::MOST_ITEMS;
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, IgnoredAny},
};
use serde_json::{error::Category, value::RawValue};

use super::{error::Failure, wiped::Wiped};
use crate::model::{Error, Refusal};

/// The most room made before a body has shown how long it is.
const FIRST_ROOM: usize = 64 * 1024;

/// Reads a body of JSON.
pub(super) async fn read(headers: &HeaderMap, mut body: Body, limit: usize) -> Result<Wiped, Failure> {
    if !is_json(headers) {
        return Err(Failure::media_type());
    }
    let announced = announced(headers);
    if announced.is_some_and(|length| length > limit) {
        return Err(too_long(limit).into());
    }
    let mut bytes = Wiped::with_capacity(announced.unwrap_or(0).min(FIRST_ROOM));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Error::invalid("the body ended before it was complete"))?;
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > limit.saturating_sub(bytes.len()) {
            return Err(too_long(limit).into());
        }
        bytes.take(data);
    }
    Ok(bytes)
}

/// Decodes one JSON object.
pub(super) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    check_object(json)?;
    serde_json::from_slice(json).map_err(|error| invalid(json, &error))
}

/// The items of a batch, each still to be decoded by itself.
pub(super) fn items(json: &[u8]) -> Result<Vec<&RawValue>, Error> {
    check_object(json)?;
    let Items { items } = serde_json::from_slice(json).map_err(|error| invalid(json, &error))?;
    if (1..=MOST_ITEMS).contains(&items.len()) {
        return Ok(items);
    }
    let detail = format!("a batch has 1 to {MOST_ITEMS} items");
    Err(Error::Invalid { code: Refusal::BatchSize, detail })
}

/// Decodes the query of a request.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Error> {
    match Query::try_from_uri(uri) {
        Ok(Query(query)) => Ok(query),
        Err(rejection) => Err(invalid_query(&rejection.body_text())),
    }
}

/// What is wrong with a query string, from the words of its decoder.
fn invalid_query(message: &str) -> Error {
    let message = message.rsplit_once("query string: ").map_or(message, |(_, rest)| rest);
    let (field, reason) = message.split_once(": ").unwrap_or(("", message));
    if is_field(field) {
        return Error::invalid(format!("query parameter `{field}`: {}", without_values(reason)));
    }
    Error::invalid(format!("the query: {}", without_values(message)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Items<'a> {
    #[serde(borrow, deserialize_with = "bounded")]
    items: Vec<&'a RawValue>,
}

/// No more items than it takes to see that they are too many.
fn bounded<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<&'a RawValue>, D::Error> {
    struct Bounded;

    impl<'de> de::Visitor<'de> for Bounded {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while items.len() <= MOST_ITEMS {
                match sequence.next_element()? {
                    Some(item) => items.push(item),
                    None => return Ok(items),
                }
            }
            while sequence.next_element::<IgnoredAny>()?.is_some() {}
            Ok(items)
        }
    }

    deserializer.deserialize_seq(Bounded)
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split_once(';').map_or(value, |(essence, _)| essence);
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_long(limit: usize) -> Error {
    Error::Invalid { code: Refusal::BodySize, detail: format!("a body has at most {limit} bytes") }
}

/// Serde would also take an array of the fields' values in their order.
fn check_object(json: &[u8]) -> Result<(), Error> {
    match json.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => Ok(()),
        Some(_) | None => Err(Error::invalid("what was sent is not a JSON object")),
    }
}

fn invalid(json: &[u8], error: &serde_json::Error) -> Error {
    match error.classify() {
        // These name what was expected, and a place.
        Category::Syntax | Category::Eof | Category::Io => {
            Error::invalid(format!("what was sent is not valid JSON: {error}"))
        }
        Category::Data => {
            let message = error.to_string();
            let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
            let field = field_at(json, error.line(), error.column()).filter(|_| !names_its_field(message));
            let reason = without_values(message);
            Error::invalid(field.map_or_else(|| reason.clone(), |field| format!("`{field}`: {reason}")))
        }
    }
}

fn names_its_field(message: &str) -> bool {
    message.starts_with("missing field `") || message.starts_with("duplicate field `")
}

/// The message of a decoder without the value that it complains of. What stands behind the last marker is text of
/// ours, or of a type's own description of what it takes.
fn without_values(message: &str) -> String {
    const QUOTING: [&str; 5] =
        ["invalid type: ", "invalid value: ", "invalid length ", "unknown field `", "unknown variant `"];
    if message.starts_with("unknown field `") && message.ends_with(", there are no fields") {
        return "unknown field, there are none".to_owned();
    }
    if QUOTING.iter().any(|start| message.starts_with(start)) {
        let expected = message.rsplit_once(", expected ").map_or("something else", |(_, expected)| expected);
        let unknown = if message.starts_with("unknown field") { "unknown field, " } else { "" };
        return format!("{unknown}expected {expected}");
    }
    if message.starts_with('`') {
        let rule = message.rsplit_once("` is not a valid ").map(|(_, rule)| rule);
        return rule
            .map_or_else(|| "not of the form that is taken here".to_owned(), |rule| format!("not a valid {rule}"));
    }
    let known = names_its_field(message) || OWN_WORDS.iter().any(|start| message.starts_with(start));
    if known { message.to_owned() } else { "not of the form that is taken here".to_owned() }
}

/// How the messages begin that our own types fail with and that hold no value.
const OWN_WORDS: [&str; 7] = [
    "not base64",
    "an encryption context",
    "a key carries at most",
    "give one of",
    "`ca` goes with",
    "invalid digit found",
    "number too large",
];

/// Fields that hold an object of ours, of whose fields the decoder says in which it stopped. The names inside others are the
/// caller's, and may be of patients; or the object is judged as a whole, when all of it was read.
const OBJECTS: [&str; 3] = ["new_key", "rotation", "scope"];

/// An object or array that the decoder had begun, and of an object the field that it was in.
#[derive(Default)]
struct Level<'a> {
    is_object: bool,
    field: Option<&'a [u8]>,
    /// The field's name is behind, its value comes.
    named: bool,
}

/// The field in which the decoder stopped, such as `bytes` or `rotation.max_wraps`.
fn field_at(json: &[u8], line: usize, column: usize) -> Option<String> {
    let start = match line {
        0 | 1 => 0,
        line => json.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(line - 2)?.0 + 1,
    };
    let read = json.get(..start.saturating_add(column).min(json.len()))?;
    let (mut levels, mut text_from, mut escaped) = (Vec::<Level<'_>>::new(), None, false);
    for (place, byte) in read.iter().enumerate() {
        if let Some(from) = text_from {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    if let Some(object) = levels.last_mut().filter(|level| level.is_object && !level.named) {
                        object.field = read.get(from..place);
                    }
                    text_from = None;
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => text_from = Some(place + 1),
            b'{' | b'[' => levels.push(Level { is_object: *byte == b'{', ..Level::default() }),
            // The decoder reads an object's end before it says what is wrong with a field of it.
            b'}' if place + 1 == read.len() => {}
            b'}' | b']' => drop(levels.pop()),
            b':' | b',' => levels.last_mut().into_iter().for_each(|level| level.named = *byte == b':'),
            _ => {}
        }
    }
    path(&levels)
}

fn path(levels: &[Level<'_>]) -> Option<String> {
    let mut path: Option<String> = None;
    for level in levels {
        let field = level.field.and_then(|field| std::str::from_utf8(field).ok()).filter(|field| is_field(field));
        let Some(field) = field else { break };
        path = Some(path.map_or_else(|| field.to_owned(), |outer| format!("{outer}.{field}")));
        if !OBJECTS.contains(&field) {
            break;
        }
    }
    path
}

/// Whether this could be the name of a field of ours; anything else is not worth repeating.
fn is_field(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use kms_client::wire::{
        data_key::{GenerateDataKey, WrapDataKey},
        key::CreateKey,
    };

    use super::*;

    fn wrong<T: DeserializeOwned>(json: &str) -> String {
        match parse::<T>(json.as_bytes()) {
            Ok(_) => panic!("{json}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_wrong_is_said_by_field_and_rule() {
        assert_eq!(wrong::<WrapDataKey>(r#"{"key":"alias/a"}"#), "missing field `plaintext`");
        assert_eq!(wrong::<GenerateDataKey>(r#"{"key":"alias/a","bytes":"many"}"#), "`bytes`: expected u32");
        assert_eq!(
            wrong::<GenerateDataKey>(r#"{"key":"records"}"#),
            "`key`: not a valid key: name it by its id or as `alias/NAME`"
        );
        assert_eq!(
            wrong::<GenerateDataKey>("{\n \"key\": \"alias/a\",\n \"colour\": 1}"),
            "`colour`: unknown field, expected one of `key`, `context`, `bytes`, `plaintext`"
        );
        assert_eq!(
            wrong::<CreateKey>(r#"{"alias":"a","data_class":"c","rotation":{"period_days":9,"max_wraps":5000000000}}"#),
            "`rotation.max_wraps`: expected u32"
        );
        assert_eq!(
            wrong::<CreateKey>(r#"{"rotation":{"max_wraps":1,"colour":{"rotation":1}}}"#),
            "`rotation.colour`: unknown field, expected `period_days` or `max_wraps`"
        );
        assert_eq!(
            wrong::<CreateKey>("{\"rotation\":{\"max_wraps\":1},\n\"tags\":{\"max_wraps\":1}}"),
            "`tags`: expected a string"
        );
        assert_eq!(wrong::<CreateKey>(r#"{"rotation":"max_wraps"}"#), "`rotation`: expected struct Rotation");
        assert!(wrong::<CreateKey>("{").starts_with("what was sent is not valid JSON: EOF"));
        assert_eq!(wrong::<CreateKey>(r#"["a"]"#), "what was sent is not a JSON object");
        assert_eq!(wrong::<CreateKey>(""), "what was sent is not a JSON object");
    }

    #[test]
    fn no_value_is_repeated() {
        for json in [
            r#"{"key":"alias/a","plaintext":"c2VjcmV0!"}"#,
            r#"{"key":"alias/a","plaintext":["c2VjcmV0"]}"#,
            r#"{"key":"alias/a","plaintext":{"c2VjcmV0":1}}"#,
            r#"{"key":"c2VjcmV0, expected c2VjcmV0","plaintext":"AA=="}"#,
            r#"{"key":"a` is not a valid key","plaintext":"AA==","c2VjcmV0":"c2VjcmV0"}"#,
            r#"{"key":"alias/a","plaintext":"AA==","context":{"c2VjcmV0":"a","b":["c2VjcmV0"]}}"#,
            r#"{"key":"alias/a","plaintext":"AA==","context":"c2VjcmV0"}"#,
            r#"{"key":"alias/a","plaintext":"AA==","context":{"c":{"rotation":{"c2VjcmV0":1}}}}"#,
            r#""c2VjcmV0""#,
        ] {
            let error = wrong::<WrapDataKey>(json);
            assert!(!error.contains("c2VjcmV0"), "{error}");
        }
    }

    #[test]
    fn a_batch_has_a_bounded_number_of_items_each_by_itself() {
        let batch = |items: usize| format!("{{\"items\":[{}]}}", vec!["1"; items].join(","));
        assert_eq!(items(batch(1).as_bytes()).unwrap().len(), 1);
        assert_eq!(items(batch(MOST_ITEMS).as_bytes()).unwrap().len(), MOST_ITEMS);
        for bad in [0, MOST_ITEMS + 1, 10 * MOST_ITEMS] {
            assert_eq!(items(batch(bad).as_bytes()).unwrap_err().code(), "batch_size");
        }
        let mixed = items(br#"{"items":[{"a":1}, "x", null]}"#).unwrap();
        assert_eq!(mixed.iter().map(|item| item.get()).collect::<Vec<_>>(), [r#"{"a":1}"#, r#""x""#, "null"]);
        assert_eq!(items(br#"{"item":[]}"#).unwrap_err().code(), "invalid_request");
    }

    #[test]
    fn a_query_is_complained_of_by_parameter() {
        let error = invalid_query("Failed to deserialize query string: limit: invalid digit found in string");
        assert_eq!(error.to_string(), "query parameter `limit`: invalid digit found in string");
        let error =
            invalid_query("Failed to deserialize query string: state: unknown variant `on`, expected `a` or `b`");
        assert_eq!(error.to_string(), "query parameter `state`: expected `a` or `b`");
    }

    #[test]
    fn json_is_asked_for_by_its_media_type() {
        let typed = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, axum::http::HeaderValue::from_static(value));
            is_json(&headers)
        };
        assert!(typed("application/json") && typed("Application/JSON; charset=utf-8"));
        assert!(!typed("text/plain") && !typed("application/jsonp") && !is_json(&HeaderMap::new()));
    }
}
