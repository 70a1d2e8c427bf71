//! A text that stands in for secrets: what holds it in a request must not come back in an error.

/// The text.
pub(crate) const MARK: &str = "c2VjcmV0";

/// An error, or whatever else comes back.
pub(crate) fn assert_unmarked(text: &str) {
    assert!(!text.contains(MARK), "a value comes back: {text}");
}
