//! The usual layout of a policy: two spaces a level, `=` aligned, no blank lines in a row.
//!
//! It moves blanks only, line by line, and leaves comments and heredocs as they are. What it made is
//! parsed again: if it does not mean the same, nothing is changed.

use conclave_hcl::{Body, Value};

/// The text in the usual layout. The error begins with the place.
pub(super) fn lay_out(text: &str) -> Result<String, String> {
    let before = conclave_hcl::parse(text).map_err(|error| error.to_string())?;
    if text.trim_start().starts_with('{') {
        return Err("1:1: it is JSON, which has no usual layout; write HCL".into());
    }
    let text = text.replace("\r\n", "\n");
    let laid_out = join(align(indent(&text)));
    match conclave_hcl::parse(&laid_out) {
        Ok(after) if meaning(&after) == meaning(&before) => Ok(laid_out),
        _ => Err("1:1: its layout is too unusual to be changed safely; lay it out by hand".into()),
    }
}

/// A line without the blanks at its ends.
struct Line {
    depth: usize,
    text: String,
    /// Of a heredoc or a comment: every blank in it counts.
    verbatim: bool,
}

fn indent(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut scanner = Scanner::default();
    for raw in text.lines() {
        let verbatim = scanner.verbatim();
        let line = raw.trim();
        let closing = line.chars().take_while(|letter| "}])".contains(*letter)).count();
        let depth = scanner.depth.saturating_sub(closing);
        let spaced = scanner.scan(raw);
        let text = if verbatim { raw.trim_end().to_owned() } else { spaced };
        lines.push(Line { depth, text, verbatim });
    }
    lines
}

/// Where a line stands: how deep, and inside of what.
#[derive(Default)]
struct Scanner {
    depth: usize,
    heredoc: Option<String>,
    comment: bool,
}

impl Scanner {
    fn verbatim(&self) -> bool {
        self.heredoc.is_some() || self.comment
    }

    /// Goes over a line; gives it back with single blanks between words.
    fn scan(&mut self, raw: &str) -> String {
        if let Some(end) = &self.heredoc {
            if raw.trim() == end {
                self.heredoc = None;
            }
            return String::new();
        }
        let mut spaced = String::new();
        let mut letters = raw.trim().char_indices().peekable();
        let line = raw.trim();
        let mut quoted = false;
        while let Some((at, letter)) = letters.next() {
            let rest = &line[at..];
            if self.comment {
                self.comment = !rest.starts_with("*/");
            } else if quoted {
                if letter == '\\' {
                    spaced.push(letter);
                    spaced.extend(letters.next().map(|(_, escaped)| escaped));
                    continue;
                }
                quoted = letter != '"';
            } else if rest.starts_with('#') || rest.starts_with("//") {
                spaced.push_str(rest);
                break;
            } else if rest.starts_with("/*") {
                self.comment = true;
            } else if let Some(word) = rest.strip_prefix("<<") {
                self.heredoc = Some(word.trim_start_matches('-').trim().to_owned());
                spaced.push_str(rest);
                break;
            } else {
                quoted = letter == '"';
                self.depth += usize::from("{[(".contains(letter));
                self.depth = self.depth.saturating_sub(usize::from("}])".contains(letter)));
                if letter.is_whitespace() {
                    let more = letters.peek().is_some_and(|(_, next)| next.is_whitespace());
                    spaced.extend((!more).then_some(' '));
                    continue;
                }
            }
            spaced.push(letter);
        }
        spaced
    }
}

/// `key = value` lines that follow each other have their `=` in one column.
fn align(mut lines: Vec<Line>) -> Vec<Line> {
    let mut start = 0;
    while start < lines.len() {
        let depth = lines[start].depth;
        let run = lines[start..]
            .iter()
            .take_while(|line| line.depth == depth && assignment(line).is_some())
            .count();
        let wide = |line: &Line| assignment(line).map(|(key, _)| key.chars().count());
        let widest = lines[start..start + run].iter().filter_map(wide).max().unwrap_or(0);
        for line in &mut lines[start..start + run] {
            if let Some((key, value)) = assignment(line) {
                line.text = format!("{key:widest$} = {value}");
            }
        }
        start += run.max(1);
    }
    lines
}

/// A key without blanks, and what is behind the first `=`.
fn assignment(line: &Line) -> Option<(String, String)> {
    let (key, value) = line.text.split_once('=').filter(|_| !line.verbatim)?;
    let key = key.trim();
    let bare =
        |text: &str| text.chars().all(|letter| letter.is_alphanumeric() || "_-".contains(letter));
    let name = key.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(key);
    let fits = !name.is_empty() && bare(name) && !value.trim().is_empty();
    fits.then(|| (key.to_owned(), value.trim().to_owned()))
}

/// Blank lines only between things, one at a time.
fn join(lines: Vec<Line>) -> String {
    let mut text = String::new();
    let mut blank = false;
    for line in lines {
        if line.text.is_empty() && !line.verbatim {
            blank = true;
            continue;
        }
        let opens = text.is_empty() || text.ends_with("{\n") || text.ends_with("[\n");
        let closes = line.text.starts_with(['}', ']']);
        if std::mem::take(&mut blank) && !opens && !closes {
            text.push('\n');
        }
        if !line.verbatim {
            text.push_str(&"  ".repeat(line.depth));
        }
        text.push_str(&line.text);
        text.push('\n');
    }
    text
}

/// What a body says, wherever it stands.
fn meaning(body: &Body) -> Vec<(Vec<String>, Meaning)> {
    let item = |item: &conclave_hcl::Item| {
        let keys = item.keys.iter().map(|key| key.text.clone()).collect();
        (keys, meaning_of(&item.value))
    };
    body.items.iter().map(item).collect()
}

fn meaning_of(value: &Value) -> Meaning {
    match value {
        Value::List(items) => {
            Meaning::List(items.iter().map(|item| meaning_of(&item.value)).collect())
        }
        Value::Object(body) => Meaning::Object(meaning(body)),
        scalar => Meaning::Scalar(scalar.clone()),
    }
}

/// A value without positions.
#[derive(PartialEq)]
enum Meaning {
    Scalar(Value),
    List(Vec<Meaning>),
    Object(Vec<(Vec<String>, Meaning)>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_laid_out_as_agreed() {
        let untidy = "\n\n# who may what\npath   \"secret/*\"   {\n\n capabilities=[\"read\",  \"list\"]\n\
             max_wrapping_ttl =   \"1h\" # not longer\n\n\n   allowed_parameters = {\n\"a b\"=[\n\
             \"x  =  { y\",\n]\n}\n\n}\npath \"one\" { capabilities = [\"deny\"] }\n\n\n/* kept\n     as\n\
             it is */\npath \"two\" {\n    comment = <<EOT\n   as  it  is {\nEOT\n  policy=\"read\"\n}\n";
        let laid_out = lay_out(untidy).expect("a good policy");
        crate::golden::check("output/policy-fmt.txt", &laid_out);
        assert_eq!(lay_out(&laid_out).as_deref(), Ok(laid_out.as_str()));
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        let why = lay_out("path \"a\" {\n  capabilities = [\n").expect_err("no end");
        assert!(why.starts_with("3:") || why.starts_with("2:"), "{why}");
        assert!(lay_out("{\"path\": {}}").is_err());
    }

    #[test]
    fn blanks_inside_values_are_kept() {
        let text = "path \"a  b\" {\n  capabilities = [\"read\"]\n}\n";
        assert_eq!(lay_out(text).as_deref(), Ok(text));
        let escaped = "path \"a\\\"  {\" {\n}\n";
        assert_eq!(lay_out(escaped).as_deref(), Ok(escaped));
    }
}
