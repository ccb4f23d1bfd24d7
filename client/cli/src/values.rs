//! `key=value`, `key=@file`, `key=-`, `@file.json` and `-` to one JSON object.

use std::io::Read;

use serde_json::{Map, Value};

use crate::commands::Failure;

/// Reads the words behind a path. A key that comes again makes a list. `stdin` is read at most
/// once.
pub(crate) fn parse(words: &[String], mut stdin: impl Read) -> Result<Map<String, Value>, Failure> {
    let mut object = Map::new();
    let mut stdin_used = false;
    let mut read_stdin = || {
        if std::mem::replace(&mut stdin_used, true) {
            return Err(Failure::local("standard input can be used for one value only".into()));
        }
        let mut text = String::new();
        match stdin.read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(error) => Err(Failure::local(format!("standard input cannot be read: {error}"))),
        }
    };
    for word in words {
        match word.split_once('=') {
            _ if word == "-" => object.extend(object_from(&read_stdin()?, "standard input")?),
            _ if word.starts_with('@') => {
                object.extend(object_from(&read_file(&word[1..])?, &word[1..])?);
            }
            Some(("", _)) => return Err(malformed(word)),
            Some((key, "-")) => add(&mut object, key, Value::String(read_stdin()?)),
            Some((key, value)) => {
                let value = match value.strip_prefix('@') {
                    Some(path) => read_file(path)?,
                    // A literal leading `@` is written `\@`.
                    None if value.starts_with("\\@") => value[1..].to_owned(),
                    None => value.to_owned(),
                };
                add(&mut object, key, Value::String(value));
            }
            None => return Err(malformed(word)),
        }
    }
    Ok(object)
}

/// Puts a value beside the one that is there.
fn add(object: &mut Map<String, Value>, key: &str, value: Value) {
    match object.get_mut(key) {
        None => drop(object.insert(key.to_owned(), value)),
        Some(Value::Array(items)) => items.push(value),
        Some(one) => *one = Value::Array(vec![one.take(), value]),
    }
}

/// `key=value` words of a flag that may be repeated.
pub(crate) fn pairs(words: &[String]) -> Result<Map<String, Value>, Failure> {
    let pair = |word: &String| match word.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), Value::from(value))),
        _ => Err(Failure::local("a value of a flag has no key; write -flag=key=value".into())),
    };
    words.iter().map(pair).collect()
}

fn read_file(path: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::local(format!("the file {path:?} cannot be read: {error}")))
}

fn object_from(text: &str, source: &str) -> Result<Map<String, Value>, Failure> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Failure::local(format!("{source} must hold a JSON object, {{…}}"))),
        // The position is told; the text itself may be secret.
        Err(error) => Err(Failure::local(format!(
            "{source} is not JSON from line {}, column {} on; correct it",
            error.line(),
            error.column()
        ))),
    }
}

/// The word may be a secret whose key was forgotten, so it is not repeated.
fn malformed(_: &str) -> Failure {
    Failure::local("a value has no key; write key=value, key=@file, key=-, @file.json or -".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(words: &[&str], stdin: &str) -> Result<Value, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        match parse(&words, stdin.as_bytes()) {
            Ok(object) => Ok(Value::Object(object)),
            Err(failure) => Err(failure.to_string()),
        }
    }

    #[test]
    fn pairs_files_and_standard_input() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("v.json");
        std::fs::write(&file, r#"{"n": 1, "a": "file"}"#).expect("a file");
        let file = file.to_str().expect("text");
        assert_eq!(read(&["a=b", "c=d=e", "e="], ""), Ok(json!({"a": "b", "c": "d=e", "e": ""})));
        assert_eq!(read(&["a=-"], "typed\n"), Ok(json!({"a": "typed\n"})));
        assert_eq!(read(&["-", "a=b"], r#"{"x": [1]}"#), Ok(json!({"a": "b", "x": [1]})));
        assert_eq!(
            read(&[&format!("@{file}"), "a=b"], ""),
            Ok(json!({"n": 1, "a": ["file", "b"]}))
        );
        assert_eq!(read(&["a=1", "a=2", "a=3"], ""), Ok(json!({"a": ["1", "2", "3"]})));
        let text = std::fs::read_to_string(file).expect("it is there");
        assert_eq!(read(&[&format!("a=@{file}")], ""), Ok(json!({"a": text})));
        assert_eq!(read(&[r"a=\@home"], ""), Ok(json!({"a": "@home"})));
    }

    #[test]
    fn mistakes_are_told_without_the_secret() {
        for words in [&["canary"][..], &["=canary"], &["a=-", "b=-"], &["-"], &["@/no/such/file"]] {
            let message = read(words, "[\"canary\"").expect_err("a mistake");
            assert!(!message.contains("canary"), "{message}");
        }
    }
}
