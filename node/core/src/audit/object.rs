//! Writes a JSON object field by field; what is empty is left out.

/// An object that is being written.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> Object<'o> {
    pub(super) fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    /// Writes the field's name; its value is the caller's.
    pub(super) fn field(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        write_text(name, self.out);
        self.out.push(b':');
        self.out
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            write_text(value, self.field(name));
        }
    }

    pub(super) fn number(&mut self, name: &str, value: u64) {
        if value != 0 {
            self.field(name).extend_from_slice(value.to_string().as_bytes());
        }
    }

    pub(super) fn flag(&mut self, name: &str, value: bool) {
        if value {
            self.field(name).extend_from_slice(b"true");
        }
    }

    pub(super) fn texts<'t>(&mut self, name: &str, values: impl IntoIterator<Item = &'t str>) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return;
        }
        let out = self.field(name);
        for (number, value) in values.enumerate() {
            out.push(if number == 0 { b'[' } else { b',' });
            write_text(value, out);
        }
        out.push(b']');
    }

    pub(super) fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        let mut inner = Object::begin(self.field(name));
        fill(&mut inner);
        inner.end();
    }

    /// Milliseconds since the Unix epoch as RFC 3339 in UTC.
    pub(super) fn time(&mut self, name: &str, ms: u64) {
        if ms != 0 {
            self.text(name, &format_time(ms));
        }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }
}

pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string can be written to memory");
}

pub(super) fn format_time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// At most so many bytes of `text`, cut between two characters.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_is_left_out() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.text("a", "");
        object.number("b", 0);
        object.flag("c", false);
        object.texts("d", []);
        object.time("e", 0);
        object.text("f", "q\"\n");
        object.texts("g", ["x", "y"]);
        object.object("h", |inner| inner.number("i", 7));
        object.time("j", 1_521_685_466_945);
        object.end();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"f":"q\"\n","g":["x","y"],"h":{"i":7},"j":"2018-03-22T02:24:26.945Z"}"#
        );
        assert_eq!(cut("aé", 2), "a");
    }
}
