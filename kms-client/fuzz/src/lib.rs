//! What must hold for whatever bytes come to a parser of the client's, a file for each. `tests/run.sh fuzz` looks for bytes
//! for which it does not; the tests below try some that nobody chose, and those that were once found.

pub mod answers;
pub mod chain;
pub mod context_json;
pub mod names;
pub mod record;
pub mod stream;
pub mod wire;
pub mod wrapped_key;

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    /// JSON by the words that requests and answers are made of, so that some of it is one.
    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            "alias/[a-z]{1,4}|AA==|[a-z_]{0,8}|\\PC{0,8}".prop_map(Into::into),
            "00000000-0000-7000-8000-0000000000[0-9a-f]{2}(-[0-9]{1,3})?".prop_map(Into::into),
            "20[0-9]{2}-0[1-9]-1[0-9]T0[0-9]:00:00Z".prop_map(Into::into),
        ];
        let name = "key|alias|items|context|plaintext|reason|name|kind|principal|role|scope|policy|text|inline|url|change|\
                    code|detail|status|title|type|request_id|limit|cursor|wrapped_key|data_class|proof|result|error|[a-z]{1,6}";
        leaf.prop_recursive(4, 24, 6, move |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::btree_map(name, inner, 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn what_was_found() {
        // A revision as text, which only people write, may have zeros before it.
        super::names::check(b"00000000000");
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in vec(any::<u8>(), 0..256)) {
            super::answers::check(&bytes);
            super::chain::check(&bytes);
            super::context_json::check(&bytes);
            super::names::check(&bytes);
            super::record::check(&bytes);
            super::stream::check(&bytes);
            super::wire::check(&bytes);
            super::wrapped_key::check(&bytes);
        }

        #[test]
        fn any_json(json in json()) {
            let bytes = json.to_string().into_bytes();
            super::answers::check(&bytes);
            super::chain::check(&bytes);
            super::context_json::check(&bytes);
            super::wire::check(&bytes);
        }

        #[test]
        fn any_name(text in "(alias/|team:|principal:|uri:|dns:|sha256:|https://)?[ -~]{0,40}|[0-9a-fA-F-]{36}(-[0-9]{1,4})?|\\PC{0,40}") {
            super::names::check(text.as_bytes());
        }
    }
}
