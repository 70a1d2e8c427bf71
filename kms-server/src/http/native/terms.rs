//! The terms of a request, as its head states them: `If-Match` (RFC 9110 section 13.1.1), `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header), and in answers `ETag`. A term that an operation does not take is refused, not
//! ignored: whoever sent it relies on it.

use aws_lc_rs::digest::{Context, SHA256};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use kms_client::wire::{
    binding::{BindingAnswer, BindingChanged},
    key::{KeyAnswer, KeyChanged},
    policy::{PolicyAnswer, PolicyChanged},
    principal::{PrincipalAnswer, PrincipalChanged},
    receipt::Revision,
    role::{RoleAnswer, RoleChanged},
    trust::{ClientCaChanged, IssuerChanged},
};
use serde_json::Value;

use super::body;
use crate::{
    model::{self, Action, Error},
    service::OnceName,
};

pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(super) const PREFER: HeaderName = HeaderName::from_static("prefer");
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
pub(super) const RESPOND_ASYNC: &str = "respond-async";
/// Says that the answer is that of an earlier request.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What the head of a request states.
#[derive(Debug, Clone, Default)]
pub(super) struct Stated {
    pub(super) expected: Option<model::Revision>,
    pub(super) once: Option<OnceName>,
    /// The caller is content with an acceptance.
    pub(super) later: bool,
}

/// An answer about one object, at one of its revisions.
pub(super) trait Revised {
    /// The object's revision; what comes with the program has none.
    fn revision(&self) -> Option<Revision>;
}

impl Stated {
    /// Reads the terms of a request for `action`.
    pub(super) fn read(headers: &HeaderMap, action: Option<Action>) -> Result<Self, Error> {
        let once = one(headers, &IDEMPOTENCY_KEY)?.map(name).transpose()?;
        if once.is_some() && !action.is_some_and(Action::is_creation) {
            return Err(Error::invalid(
                "`idempotency-key`: only what creates something takes one; what answers key material never does, \
                 because no answer of it is kept",
            ));
        }
        let tag = one(headers, &header::IF_MATCH)?;
        if tag.is_some() && !action.is_some_and(Action::is_edit) {
            return Err(Error::invalid("`if-match`: only a change of something that is there takes it"));
        }
        // A preference that cannot be met is no error (RFC 7240 section 2).
        let later = action.is_some_and(Action::is_control) && prefers_async(headers);
        Ok(Self { expected: tag.map(expected).transpose()?.flatten(), once, later })
    }
}

/// Whether one of the preferences is `respond-async` (RFC 7240 section 4.1).
fn prefers_async(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let preferences = fields.flat_map(|field| field.split(','));
    let mut names = preferences.map(|preference| preference.split([';', '=']).next().unwrap_or_default().trim());
    names.any(|name| name.eq_ignore_ascii_case(RESPOND_ASYNC))
}

/// Everything about a request that its repetition must have in common with it.
pub(super) fn digest(method: &Method, path: &str, json: &[u8]) -> Result<[u8; 32], Error> {
    let body: Value = body::parse(json)?;
    let mut canonical = Vec::with_capacity(json.len());
    write_sorted(&body, &mut canonical)?;
    let mut context = Context::new(&SHA256);
    for part in [b"keyward/idempotency/v1".as_slice(), method.as_str().as_bytes(), path.as_bytes(), &canonical] {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(digest)
}

/// The entity tag of an object at this revision.
pub(super) fn tag(revision: Revision) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("\"{revision}\"")).ok()
}

macro_rules! revised {
    ($($answer:ty: $object:ident;)+) => {$(
        impl Revised for $answer {
            fn revision(&self) -> Option<Revision> {
                self.$object.revision.into()
            }
        }
    )+};
}

revised! {
    KeyAnswer: key;
    KeyChanged: key;
    PrincipalAnswer: principal;
    PrincipalChanged: principal;
    BindingAnswer: binding;
    BindingChanged: binding;
    IssuerChanged: issuer;
    ClientCaChanged: client_ca;
    PolicyAnswer: policy;
    PolicyChanged: policy;
    RoleAnswer: role;
    RoleChanged: role;
}

fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Error> {
    let mut values = headers.get_all(name).iter();
    let (first, more) = (values.next(), values.next());
    if more.is_some() {
        return Err(Error::invalid(format!("`{name}` is there twice")));
    }
    let text = first.map(|value| value.to_str().map(str::trim));
    text.transpose().map_err(|_| Error::invalid(format!("`{name}` is not ASCII")))
}

/// A string as structured fields write it (RFC 9651 section 3.3.3), or the same without the quotes.
fn name(text: &str) -> Result<OnceName, Error> {
    let Some(quoted) = text.strip_prefix('"') else {
        if text.contains(['"', '\\', ' ', ',', ';']) {
            return Err(Error::invalid("`idempotency-key`: not of the form `\"...\"`"));
        }
        return text.parse();
    };
    let mut name = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    loop {
        match characters.next() {
            Some('"') if characters.as_str().is_empty() => return name.parse(),
            Some('\\') => match characters.next() {
                Some(escaped @ ('"' | '\\')) => name.push(escaped),
                Some(_) | None => break,
            },
            Some('"') | None => break,
            Some(character) => name.push(character),
        }
    }
    Err(Error::invalid("`idempotency-key`: not of the form `\"...\"`"))
}

/// The revision that is expected; none for `*`.
fn expected(tag: &str) -> Result<Option<model::Revision>, Error> {
    if tag == "*" {
        return Ok(None);
    }
    let revision = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).filter(|number| {
        let plain = number.bytes().all(|byte| byte.is_ascii_digit());
        plain && (*number == "0" || !number.starts_with('0'))
    });
    let revision = revision.and_then(|number| number.parse().ok());
    revision.map(|number| Some(model::Revision(number))).ok_or_else(|| {
        Error::invalid("`if-match`: give one strong tag, the `etag` of an answer, such as `\"7\"`, or `*`")
    })
}

/// JSON without white space, the members of objects in the order of their names.
fn write_sorted(value: &Value, out: &mut Vec<u8>) -> Result<(), Error> {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push(b'{');
            for (place, (name, member)) in members.into_iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, name).map_err(Error::internal)?;
                out.push(b':');
                write_sorted(member, out)?;
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write_sorted(item, out)?;
            }
            out.push(b']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            serde_json::to_writer(out, value).map_err(Error::internal)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(name: HeaderName, value: &str, action: Action) -> Result<Stated, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        Stated::read(&headers, Some(action))
    }

    #[test]
    fn if_match_takes_one_strong_tag() {
        let of = |value| stated(header::IF_MATCH, value, Action::UpdateKey).map(|stated| stated.expected);
        assert_eq!(of("\"7\"").unwrap(), Some(model::Revision(7)));
        assert_eq!(of("*").unwrap(), None);
        for bad in
            ["7", "W/\"7\"", "\"7\", \"8\"", "\"\"", "\"x\"", "\"07\"", "\"+7\"", "", "**", "\"99999999999999999999\""]
        {
            assert_eq!(of(bad).unwrap_err().code(), "invalid_request", "{bad}");
        }
        let tag = tag(Revision::new(7)).unwrap();
        assert_eq!(of(tag.to_str().unwrap()).unwrap(), Some(model::Revision(7)));
    }

    #[test]
    fn an_idempotency_key_is_a_string_with_or_without_its_quotes() {
        let of = |value| stated(IDEMPOTENCY_KEY, value, Action::CreateKey).map(|stated| stated.once.unwrap());
        assert_eq!(of("\"a b\"").unwrap(), "a b".parse().unwrap());
        assert_eq!(of("a-b").unwrap(), of("\"a-b\"").unwrap());
        assert_eq!(of(r#""a\"\\b""#).unwrap(), r#"a"\b"#.parse().unwrap());
        for bad in ["", "\"\"", "\"", "\"a", "a b", "\"a\";x", "\"a\", \"b\"", r#""a\b""#, "a\""] {
            assert_eq!(of(bad).unwrap_err().code(), "invalid_request", "{bad}");
        }
    }

    #[test]
    fn a_term_that_is_not_taken_is_refused() {
        for action in [Action::Unwrap, Action::Generate, Action::Random, Action::DisableKey, Action::ListKeys] {
            assert!(stated(IDEMPOTENCY_KEY, "\"a\"", action).is_err(), "{action:?}");
        }
        for action in [Action::Unwrap, Action::CreateKey, Action::DescribeKey] {
            assert!(stated(header::IF_MATCH, "\"1\"", action).is_err(), "{action:?}");
        }
        let mut twice = HeaderMap::new();
        twice.append(header::IF_MATCH, HeaderValue::from_static("\"1\""));
        twice.append(header::IF_MATCH, HeaderValue::from_static("\"2\""));
        assert!(Stated::read(&twice, Some(Action::UpdateKey)).is_err());
    }

    #[test]
    fn a_digest_is_of_the_meaning_not_of_the_spelling() {
        let of = |method: &Method, path, json: &str| digest(method, path, json.as_bytes()).unwrap();
        let one = of(&Method::POST, "/v1/keys", r#"{"a":1,"b":{"c":[1,2],"d":"\u0041"}}"#);
        assert_eq!(one, of(&Method::POST, "/v1/keys", r#" { "b":{"d":"A", "c":[1,2]}, "a":1 }"#));
        assert_ne!(one, of(&Method::POST, "/v1/keys", r#"{"a":1,"b":{"c":[2,1],"d":"A"}}"#));
        assert_ne!(one, of(&Method::POST, "/v1/key", r#"{"a":1,"b":{"c":[1,2],"d":"A"}}"#));
        assert_ne!(one, of(&Method::PATCH, "/v1/keys", r#"{"a":1,"b":{"c":[1,2],"d":"A"}}"#));
    }
}
