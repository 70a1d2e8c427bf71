//! Tags: what an installation says about its keys, readable by its policies. They are no secret and no authority.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, de};

/// The most tags one key carries.
pub const MOST_TAGS: usize = 50;

/// Up to 50 tags of a key: names of 1 to 128 bytes, values of up to 256, no name twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = std::collections::HashMap<String, String>))]
pub struct Tags(BTreeMap<String, String>);

/// Tags that are too many or too long, or one name given twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTags {
    /// More than [`MOST_TAGS`].
    #[error("a key carries at most {MOST_TAGS} tags")]
    TooMany,
    /// A name or value of the wrong length, or with characters that cannot be printed.
    #[error("tag `{0}`: a name takes 1 to 128 bytes of printable text, a value up to 256")]
    Form(String),
    /// One name given twice.
    #[error("tag `{0}` is given twice")]
    Twice(String),
}

impl Tags {
    /// Tags of these names and values.
    ///
    /// # Errors
    /// When they are too many, too long, or one name is given twice.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, InvalidTags> {
        let mut tags = Self::default();
        for (name, value) in pairs {
            tags.insert(name, value)?;
        }
        Ok(tags)
    }

    /// The value of a tag.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Names and values, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn insert(&mut self, name: String, value: String) -> Result<(), InvalidTags> {
        let printable = |text: &str| !text.contains(char::is_control);
        let lengths = (1..=128).contains(&name.len()) && value.len() <= 256;
        if !lengths || !printable(&name) || !printable(&value) {
            return Err(InvalidTags::Form(name.chars().filter(|c| !c.is_control()).take(64).collect()));
        }
        if self.0.contains_key(&name) {
            return Err(InvalidTags::Twice(name));
        }
        if self.0.len() == MOST_TAGS {
            return Err(InvalidTags::TooMany);
        }
        self.0.insert(name, value);
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TagsVisitor)
    }
}

struct TagsVisitor;

impl<'de> de::Visitor<'de> for TagsVisitor {
    type Value = Tags;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Tags, A::Error> {
        // Not through `BTreeMap`, which would keep the last of two equal names and say nothing.
        let mut tags = Tags::default();
        while let Some((name, value)) = map.next_entry()? {
            tags.insert(name, value).map_err(de::Error::custom)?;
        }
        Ok(tags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_once() {
        let error = serde_json::from_str::<Tags>(r#"{"a":"1","a":"2"}"#).unwrap_err();
        assert!(error.to_string().starts_with("tag `a` is given twice"), "{error}");
    }

    #[test]
    fn tags_are_bounded() {
        let many = (0..=MOST_TAGS).map(|n| (n.to_string(), String::new()));
        assert_eq!(Tags::new(many), Err(InvalidTags::TooMany));
        let pairs = |name: &str| [(name.to_owned(), "v".to_owned())];
        assert!(Tags::new(pairs("")).is_err());
        assert!(Tags::new(pairs("a\nb")).is_err());
        assert_eq!(Tags::new(pairs("team")).unwrap().value("team"), Some("v"));
    }
}
