//! `conclave login`.

use clap::Args;
use serde_json::{Map, Value, json};

use super::{Context, Failure, path};
use crate::answer::Answer;
use crate::output::{Format, Output};
use crate::style::Style;
use crate::token::Store;
use crate::{terminal, values};

/// Log in, and keep the token for the next commands.
#[derive(Args)]
pub(crate) struct Login {
    /// How: token, userpass, ldap, radius or okta
    #[arg(long, default_value = TOKEN, value_name = "METHOD")]
    method: String,
    /// Where the method is mounted; without it, under its own name
    #[arg(long, value_name = "MOUNT")]
    path: Option<String>,
    /// Do not keep the token
    #[arg(long)]
    no_store: bool,
    /// Show nothing of the answer
    #[arg(long, conflicts_with_all = ["token_only", "field"])]
    no_print: bool,
    /// Print the token alone, and do not keep it
    #[arg(long, conflicts_with = "field")]
    token_only: bool,
    /// Print only this field's value
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
    /// What the method takes: a token, or key=value: username=bob. What is missing is asked for,
    /// without showing it
    #[arg(value_name = "DATA")]
    data: Vec<String>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Login {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let method = self.method.to_lowercase();
        let data = self.parse(&method)?;
        let answer = match method.as_str() {
            TOKEN => by_token(context, data).await?,
            "userpass" | "ldap" | "radius" | "okta" => {
                self.by_password(context, &method, data).await?
            }
            _ => return Err(unknown(&method, context.style)),
        };
        let token = answer.auth.as_ref().and_then(|auth| auth.get("client_token")?.as_str());
        let token = token.ok_or_else(|| {
            Failure::Server("the cluster answered without a token; look at the method".into())
        })?;
        let notes = self.keep(token, context)?;
        self.show(&answer, format, &notes)
    }

    /// A word alone is a token; `-` alone is one on standard input.
    fn parse(&self, method: &str) -> Result<Map<String, Value>, Failure> {
        match self.data.as_slice() {
            [word] if method == TOKEN && (word == "-" || !word.contains('=')) => {
                let token =
                    if word == "-" { terminal::read_secret(TOKEN_PROMPT)? } else { word.clone() };
                Ok(Map::from_iter([(TOKEN.to_owned(), Value::from(token.trim()))]))
            }
            words => values::parse(words, std::io::stdin()),
        }
    }

    async fn by_password(
        &self,
        context: &Context,
        method: &str,
        mut data: Map<String, Value>,
    ) -> Result<Answer, Failure> {
        let mount = path::clean(self.path.as_deref().unwrap_or(method))?;
        let mount = mount.strip_prefix("auth/").unwrap_or(&mount);
        let own_name = || context.environment().plain("USER").map(Value::from);
        let name = data.remove("username").or_else(own_name);
        let name = name.as_ref().and_then(Value::as_str).ok_or_else(|| {
            Failure::local("'username' must be specified: write username=NAME".into())
        })?;
        if !data.contains_key("password") {
            let password = terminal::read_secret("Password (will be hidden): ")?;
            data.insert("password".into(), password.into());
        }
        let login = format!("auth/{mount}/login/{name}");
        // A token that is kept from before has no part in this.
        let api = context.api_as(None).await?;
        api.write("authenticating", &login, &Value::Object(data)).await
    }

    /// Keeps the token, and says what became of it.
    fn keep(&self, token: &str, context: &Context) -> Result<String, Failure> {
        if self.token_only {
            return Ok(String::new());
        }
        let program = context.style.program();
        if self.no_store {
            return Ok(format!(
                "The token was not stored in token helper. Set the {}_TOKEN environment\n\
                 variable or pass the token below with each request to {}.\n",
                variable(context.style),
                context.style.product()
            ));
        }
        let store = Store::of(context.environment())?.ok_or_else(|| {
            Failure::local(
                "there is no home to keep the token in; set HOME or use -no-store".into(),
            )
        })?;
        store.put(token)?;
        let mut text = format!(
            "Success! You are now authenticated. The token information displayed below\n\
             is already stored in the token helper. You do NOT need to run \"{program} login\"\n\
             again. Future {} requests will automatically use this token.\n",
            context.style.product()
        );
        if let Some(name) = context.environment().name_of("TOKEN") {
            text = format!(
                "WARNING! The {name} environment variable is set! The value of this variable\n\
                 will take precedence; if this is unwanted please unset {name} or update its\n\
                 value accordingly.\n\n{text}"
            );
        }
        Ok(text)
    }

    /// Who asks for a field gets nothing else on standard output.
    fn show(&self, answer: &Answer, format: Format, notes: &str) -> Result<Output, Failure> {
        if self.token_only {
            return answer.show(format, Some("token"));
        }
        if self.no_print {
            return Ok(Output::silent());
        }
        if self.field.is_some() || !format.is_table() {
            return answer.show(format, self.field.as_deref());
        }
        let shown = answer.show(format, None)?;
        Ok(Output { text: format!("{notes}\n{}", shown.text), ..shown })
    }
}

/// The token is good if it can look itself up; the answer is told as a login's.
async fn by_token(context: &Context, mut data: Map<String, Value>) -> Result<Answer, Failure> {
    let token = match data.remove(TOKEN) {
        Some(Value::String(token)) => token,
        _ => terminal::read_secret(TOKEN_PROMPT)?,
    };
    let api = context.api_as(Some(token.clone())).await?;
    let found = api.read("auth/token/lookup-self", &std::collections::BTreeMap::new()).await;
    let found =
        found?.ok_or_else(|| Failure::Server("the token has ended; take another".into()))?;
    Ok(as_login(found, &token))
}

/// A lookup's data in the shape of a login's.
fn as_login(found: Answer, token: &str) -> Answer {
    let of = |name: &str| found.data.get(name).cloned().unwrap_or_default();
    let identity = of("identity_policies");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let all: Vec<Value> = list(&of("policies")).into_iter().chain(list(&identity)).collect();
    let auth = json!({
        "client_token": token, "accessor": of("accessor"), "lease_duration": of("ttl"),
        "renewable": of("renewable") == true, "metadata": of("meta"), "policies": all,
        "token_policies": of("policies"), "identity_policies": identity,
        "entity_id": of("entity_id"), "token_type": of("type"), "orphan": of("orphan"),
        "num_uses": of("num_uses"),
    });
    let Value::Object(auth) = auth else { unreachable!("it was written as an object") };
    Answer { request_id: found.request_id, auth: Some(auth), ..Answer::default() }
}

fn unknown(method: &str, style: Style) -> Failure {
    let program = style.program();
    Failure::local(format!(
        "Unknown auth method: {method}. Use \"{program} auth list\" to see the complete list of \
         auth methods. Additionally, some auth methods are only available via the HTTP API: use \
         \"{program} write auth/{method}/login …\"."
    ))
}

fn variable(style: Style) -> &'static str {
    match style {
        Style::Conclave => "CONCLAVE",
        Style::Vault => "VAULT",
        Style::Bao => "BAO",
    }
}

const TOKEN: &str = "token";
const TOKEN_PROMPT: &str = "Token (will be hidden): ";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::flags::Global;

    fn login(words: &[&str]) -> Login {
        use clap::Parser;
        let words = ["conclave", "login"].iter().chain(words);
        let words = crate::flags::rewrite(words.map(Into::into).collect());
        match crate::flags::Cli::try_parse_from(words).expect("a valid line").command {
            crate::commands::Command::Login(login) => login,
            other => panic!("{other:?}"),
        }
    }

    fn context(home: &str, token: &str) -> Context {
        let variables = [("HOME", home), ("VAULT_TOKEN", token)];
        Context::new(Global::default(), Environment::of(variables), Style::Vault)
    }

    fn answer() -> Answer {
        let data = json!({
            "id": "hvs.0", "accessor": "a-1", "ttl": 0, "renewable": false, "meta": null,
            "policies": ["root"], "type": "service", "orphan": true, "num_uses": 0,
        });
        as_login(Answer { data, ..Answer::default() }, "hvs.0")
    }

    #[test]
    fn a_word_alone_is_a_token() {
        let parsed = |words: &[&str]| Value::Object(login(words).parse(TOKEN).expect("valid"));
        assert_eq!(parsed(&["hvs.abc"]), json!({"token": "hvs.abc"}));
        assert_eq!(parsed(&["token=hvs.abc"]), json!({"token": "hvs.abc"}));
        assert_eq!(parsed(&[]), json!({}));
        let given = login(&["-method=userpass", "username=bob", "password=a=b"]);
        let parsed = Value::Object(given.parse("userpass").expect("valid"));
        assert_eq!(parsed, json!({"username": "bob", "password": "a=b"}));
    }

    #[test]
    fn a_token_is_kept_and_told_as_agreed() {
        let home = tempfile::tempdir().expect("a folder");
        let context = context(home.path().to_str().expect("text"), "");
        let notes = login(&[]).keep("hvs.0", &context).expect("kept");
        let shown = login(&[]).show(&answer(), Format::Table, &notes).expect("shown");
        crate::golden::check("output/login-vault.txt", &shown.text);
        let kept = std::fs::read_to_string(home.path().join(".vault-token")).expect("kept");
        assert_eq!(kept, "hvs.0");
    }

    #[test]
    fn what_must_not_be_printed_or_kept_is_not() {
        let home = tempfile::tempdir().expect("a folder");
        let context = context(home.path().to_str().expect("text"), "other");
        let only = login(&["-token-only"]);
        let notes = only.keep("hvs.0", &context).expect("nothing to do");
        let shown = only.show(&answer(), Format::Table, &notes).expect("shown");
        assert_eq!(shown.text.trim(), "hvs.0");
        let quiet = login(&["-no-print", "-no-store"]);
        let notes = quiet.keep("hvs.0", &context).expect("nothing to do");
        assert!(notes.contains("VAULT_TOKEN") && !notes.contains("hvs.0"), "{notes}");
        assert_eq!(quiet.show(&answer(), Format::Json, &notes).expect("shown"), Output::silent());
        assert_eq!(std::fs::read_dir(home.path()).expect("listed").count(), 0);
        let notes = login(&[]).keep("hvs.0", &context).expect("kept");
        assert!(notes.starts_with("WARNING! The VAULT_TOKEN "), "{notes}");
    }

    #[test]
    fn methods_that_need_more_than_words_say_where_to_go() {
        let failure = unknown("jwt", Style::Bao);
        assert!(failure.to_string().contains("\"bao write auth/jwt/login"), "{failure}");
        assert_eq!(failure.exit_code(), crate::EXIT_LOCAL);
    }
}
