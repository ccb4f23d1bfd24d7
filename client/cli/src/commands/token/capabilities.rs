//! `conclave token capabilities`.

use clap::Args;
use serde_json::{Value, json};

use super::{Context, Failure};
use crate::output::{self, Format, Output};

/// What a token may do at a path.
#[derive(Args)]
pub(crate) struct Capabilities {
    /// The first word is an accessor
    #[arg(long)]
    accessor: bool,
    /// The path; before it the token, or without that the one that asks
    #[arg(value_name = "[TOKEN] PATH", required = true, num_args = 1..=2)]
    words: Vec<String>,
}

impl std::fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capabilities").field("accessor", &self.accessor).finish_non_exhaustive()
    }
}

impl Capabilities {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let (path, body) = self.request()?;
        let answer = context.api().await?.write("listing capabilities", path, &body).await?;
        Ok(render(answer.data.get("capabilities"), format))
    }

    fn request(&self) -> Result<(&'static str, Value), Failure> {
        let of = |path: &str| json!([path.trim_start_matches('/')]);
        match (self.words.as_slice(), self.accessor) {
            ([path], false) => Ok(("sys/capabilities-self", json!({ "paths": of(path) }))),
            ([token, path], false) => {
                Ok(("sys/capabilities", json!({ "token": token, "paths": of(path) })))
            }
            ([accessor, path], true) => Ok((
                "sys/capabilities-accessor",
                json!({ "accessor": accessor, "paths": of(path) }),
            )),
            _ => Err(Failure::local(
                "Not enough arguments with -accessor (expected 2, got 1)".into(),
            )),
        }
    }
}

/// In the order of their names.
fn render(capabilities: Option<&Value>, format: Format) -> Output {
    let list = capabilities.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut names: Vec<String> = list.iter().map(output::plain).collect();
    names.sort();
    if format.is_table() {
        return Output::good(format!("{}\n", names.join(", ")));
    }
    Output::document(format, &json!(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_decide_whose_they_are() {
        let asked = |accessor, words: &[&str]| {
            let words = words.iter().map(|word| (*word).to_owned()).collect();
            Capabilities { accessor, words }.request().ok()
        };
        let own = ("sys/capabilities-self", json!({"paths": ["secret/a"]}));
        assert_eq!(asked(false, &["/secret/a"]), Some(own));
        let other = ("sys/capabilities", json!({"token": "t", "paths": ["a/"]}));
        assert_eq!(asked(false, &["t", "a/"]), Some(other));
        let accessor = ("sys/capabilities-accessor", json!({"accessor": "x", "paths": ["a"]}));
        assert_eq!(asked(true, &["x", "a"]), Some(accessor));
        assert_eq!(asked(true, &["a"]), None);
    }

    #[test]
    fn names_are_sorted() {
        let data = json!(["update", "read"]);
        assert_eq!(render(Some(&data), Format::Table).text, "read, update\n");
        assert_eq!(render(Some(&data), Format::Raw).text, "[\"read\",\"update\"]\n");
    }
}
