//! What the body of a request may hold, told by the types that parse it.
//!
//! A [`BodyFields`] asks a type's own `Deserialize` for the names and kinds of its fields; only the words
//! about them are written by hand. So what help and OpenAPI say is what is parsed, whatever changes.

use std::cell::Cell;

use serde::de::value::{Error, StrDeserializer};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, Expected, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

use crate::fields;

/// One field that a body may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// As it stands in the body.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether the request is refused without it.
    pub required: bool,
    /// One sentence; empty where nobody wrote it, which a test refuses.
    pub about: &'static str,
}

/// What a field holds. All but text, lists and objects may be written as text, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A whole number that is not negative.
    Whole,
    /// A number that may have a fraction.
    Number,
    /// `true` or `false`.
    Flag,
    /// Seconds, or `1h30m`.
    Duration,
    /// A list of strings, or one with commas.
    Texts,
    /// A list of whole numbers, or a string with commas.
    Wholes,
    /// A list of anything.
    List,
    /// An object.
    Object,
    /// Any JSON value.
    Any,
}

impl Kind {
    /// The name that readers of help know it by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Whole => "int",
            Self::Number => "float",
            Self::Flag => "bool",
            Self::Duration => "duration (sec)",
            Self::Texts => "comma-separated strings",
            Self::Wholes => "comma-separated integers",
            Self::List => "slice",
            Self::Object => "map",
            Self::Any => "any",
        }
    }
}

/// What one type reads from a body. A route whose handler reads several has as many.
#[derive(Debug, Clone, Copy)]
pub struct BodyFields {
    shape: fn() -> Vec<(&'static str, Kind)>,
    words: &'static [Word],
}

/// What is said about one field.
#[derive(Debug, Clone, Copy)]
pub struct Word {
    name: &'static str,
    about: &'static str,
    required: bool,
    kind: Option<Kind>,
}

/// About the field `name`.
#[must_use]
pub const fn word(name: &'static str, about: &'static str) -> Word {
    Word { name, about, required: false, kind: None }
}

impl Word {
    /// The same about a field that no request may leave out.
    #[must_use]
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// The same about a field whose type reads more than it then accepts.
    #[must_use]
    pub const fn holds(self, kind: Kind) -> Self {
        Self { kind: Some(kind), ..self }
    }
}

impl BodyFields {
    /// What `T` reads, with a word about each field.
    #[must_use]
    pub const fn of<T: Deserialize<'static>>(words: &'static [Word]) -> Self {
        Self { shape: shape::<T>, words }
    }

    /// What is read elsewhere than where its routes are told of: each word says what it holds.
    #[must_use]
    pub const fn elsewhere(words: &'static [Word]) -> Self {
        Self { shape: Vec::new, words }
    }

    /// The fields in the order in which the type has them.
    #[must_use]
    pub fn fields(&self) -> Vec<Field> {
        let read = (self.shape)();
        if read.is_empty() {
            return self.words.iter().map(|word| word.about(Kind::Any)).collect();
        }
        let field = |(name, kind)| match self.words.iter().find(|word| word.name == name) {
            Some(word) => word.about(kind),
            None => Field { name, kind, required: false, about: "" },
        };
        read.into_iter().map(field).collect()
    }

    /// What tests must find empty: fields without words, and words about what no type reads.
    #[must_use]
    pub fn faults(&self) -> Vec<&'static str> {
        let fields = self.fields();
        let silent = fields.iter().filter(|field| field.about.is_empty()).map(|field| field.name);
        let idle = self.words.iter().map(|word| word.name);
        let idle = idle.filter(|name| fields.iter().all(|field| field.name != *name));
        silent.chain(idle).collect()
    }
}

impl Word {
    fn about(&self, kind: Kind) -> Field {
        let Self { name, about, required, .. } = *self;
        Field { name, kind: self.kind.unwrap_or(kind), required, about }
    }
}

/// The fields of a type: each is asked for alone, because what was asked ends the parsing.
fn shape<T: Deserialize<'static>>() -> Vec<(&'static str, Kind)> {
    let names = Cell::new(&[][..]);
    let read = |field| {
        let kind = Cell::new(Kind::Any);
        // It always fails: what is wanted are the questions, not a value.
        drop(T::deserialize(Probe { names: &names, field, kind: &kind }));
        kind.get()
    };
    read(None);
    let read = |name: &&'static str| (*name, read(Some(*name)));
    names.get().iter().map(read).collect()
}

type Names = Cell<&'static [&'static str]>;

/// Stands for a body: notes which names a type looks for, and hands it one of them.
struct Probe<'p> {
    names: &'p Names,
    field: Option<&'static str>,
    kind: &'p Cell<Kind>,
}

impl Deserializer<'static> for Probe<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'static>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.names.set(fields);
        match self.field {
            Some(name) => visitor.visit_map(OneField { name: Some(name), kind: self.kind }),
            None => Err(enough()),
        }
    }

    fn deserialize_any<V: Visitor<'static>>(self, _: V) -> Result<V::Value, Error> {
        Err(enough())
    }

    forward_to_deserialize_any! {
        <V: Visitor<'static>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// A body with one field.
struct OneField<'p> {
    name: Option<&'static str>,
    kind: &'p Cell<Kind>,
}

impl MapAccess<'static> for OneField<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'static>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let name = self.name.take();
        name.map(|name| seed.deserialize(StrDeserializer::new(name))).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'static>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(ValueProbe(self.kind))
    }
}

/// Stands for a field's value: notes what kind of value its type asks for.
struct ValueProbe<'p>(&'p Cell<Kind>);

impl ValueProbe<'_> {
    fn note<T>(self, kind: Kind) -> Result<T, Error> {
        self.0.set(kind);
        Err(enough())
    }
}

/// A question of the format's interface, and the kind that it says.
macro_rules! note {
    ($($question:ident => $kind:ident,)*) => {
        $(fn $question<V: Visitor<'static>>(self, _: V) -> Result<V::Value, Error> {
            self.note(Kind::$kind)
        })*
    };
}

impl Deserializer<'static> for ValueProbe<'_> {
    type Error = Error;

    note! {
        deserialize_bool => Flag,
        deserialize_u8 => Whole,
        deserialize_u16 => Whole,
        deserialize_u32 => Whole,
        deserialize_u64 => Whole,
        deserialize_f64 => Number,
        deserialize_str => Text,
        deserialize_string => Text,
        deserialize_identifier => Text,
        deserialize_seq => List,
        deserialize_map => Object,
    }

    fn deserialize_option<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'static>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        // A value that is kept as its text has a name that only serde_json gives a meaning.
        match name.starts_with('$') {
            true => self.note(Kind::Any),
            false => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_struct<V: Visitor<'static>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        self.note(Kind::Object)
    }

    /// The types of [`fields`] look at what is there; what they expect tells them apart.
    fn deserialize_any<V: Visitor<'static>>(self, visitor: V) -> Result<V::Value, Error> {
        let expected = (&visitor as &dyn Expected).to_string();
        let kind = KINDS.iter().find(|(text, _)| *text == expected);
        self.note(kind.map_or(Kind::Any, |(_, kind)| *kind))
    }

    forward_to_deserialize_any! {
        <V: Visitor<'static>>
        i8 i16 i32 i64 i128 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct enum
        ignored_any
    }
}

fn enough() -> Error {
    de::Error::custom("enough was seen")
}

const KINDS: [(&str, Kind); 5] = [
    (fields::WHOLE, Kind::Whole),
    (fields::FLAG, Kind::Flag),
    (fields::DURATION, Kind::Duration),
    (fields::WHOLE_LIST, Kind::Wholes),
    (fields::TEXT_LIST, Kind::Texts),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::*;
    use crate::fields::{DurationMs, Flag, Object, TextList, TextMap, Whole, WholeList, present};

    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct Everything<'a> {
        text: String,
        #[serde(rename = "type")]
        kind: Option<String>,
        #[serde(default, deserialize_with = "present")]
        whole: Option<Whole>,
        flag: Option<Flag>,
        ttl: Option<DurationMs>,
        #[serde(alias = "names_before")]
        names: Option<TextList>,
        numbers: WholeList,
        pairs: Option<TextMap>,
        nested: Option<Object<Nested>>,
        map: Option<BTreeMap<String, String>>,
        any: Option<Value>,
        #[serde(borrow)]
        raw: Option<&'a RawValue>,
        plain: bool,
        small: u8,
        list: Vec<Value>,
        nullable: Option<Option<Whole>>,
    }

    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "only its shape is looked at")]
    struct Nested {
        inner: u64,
    }

    #[test]
    fn types_tell_what_they_read() {
        let read: Vec<_> = shape::<Everything<'static>>();
        let read: Vec<_> =
            read.into_iter().map(|(name, kind)| format!("{name} {kind:?}")).collect();
        let expected = [
            "text Text",
            "type Text",
            "whole Whole",
            "flag Flag",
            "ttl Duration",
            "names Texts",
            "names_before Texts",
            "numbers Wholes",
            "pairs Object",
            "nested Object",
            "map Object",
            "any Any",
            "raw Any",
            "plain Flag",
            "small Whole",
            "list List",
            "nullable Whole",
        ];
        let (read, expected) = (
            read.into_iter().collect::<std::collections::BTreeSet<_>>(),
            expected.map(String::from).into(),
        );
        assert_eq!(read, expected);
    }

    #[test]
    fn words_and_types_must_agree() {
        const BODY: BodyFields = BodyFields::of::<Nested>(&[
            word("inner", "Counts.").required().holds(Kind::Number),
            word("outer", "Is not there."),
        ]);
        let field = Field { name: "inner", kind: Kind::Number, required: true, about: "Counts." };
        assert_eq!(BODY.fields(), [field]);
        assert_eq!(BODY.faults(), ["outer"]);
        assert_eq!(BodyFields::of::<Nested>(&[]).faults(), ["inner"]);
    }

    #[test]
    fn what_takes_any_name_has_no_fields() {
        assert!(shape::<BTreeMap<String, Value>>().is_empty());
        const TOLD: BodyFields =
            BodyFields::elsewhere(&[word("key", "A share.").holds(Kind::Text)]);
        assert_eq!(TOLD.fields()[0].kind, Kind::Text);
    }
}
