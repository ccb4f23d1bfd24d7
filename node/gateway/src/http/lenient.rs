//! Fields as clients really send them: numbers and booleans may be strings.

use serde::{Deserialize, Deserializer, de};

#[derive(Deserialize)]
#[serde(untagged)]
enum Loose<'a, T> {
    Plain(T),
    Text(#[serde(borrow)] std::borrow::Cow<'a, str>),
}

/// A small number, `5` or `"5"`; absent or null is `None`.
pub(super) fn number<'de, D: Deserializer<'de>>(input: D) -> Result<Option<u8>, D::Error> {
    match Option::<Loose<'de, u8>>::deserialize(input)? {
        None => Ok(None),
        Some(Loose::Plain(number)) => Ok(Some(number)),
        Some(Loose::Text(text)) => {
            text.parse().map(Some).map_err(|_| de::Error::custom("a small number is expected"))
        }
    }
}

/// A boolean, `true` or `"true"` or `"1"`; absent or null is false.
pub(super) fn boolean<'de, D: Deserializer<'de>>(input: D) -> Result<bool, D::Error> {
    match Option::<Loose<'de, bool>>::deserialize(input)? {
        None => Ok(false),
        Some(Loose::Plain(value)) => Ok(value),
        Some(Loose::Text(text)) => match text.as_ref() {
            "" | "0" | "f" | "false" | "False" | "FALSE" => Ok(false),
            text if super::head::is_true(text) => Ok(true),
            _ => Err(de::Error::custom("a boolean is expected")),
        },
    }
}
