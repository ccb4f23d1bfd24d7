//! `tune`.

use clap::Args;
use serde_json::{Map, Value};

use super::settings::Settings;
use super::{Context, Failure, Kind};
use crate::output::Output;

/// Change settings of a secrets engine or an auth method.
#[derive(Debug, Args)]
pub(crate) struct Tune {
    #[command(flatten)]
    settings: Settings,
    /// Where it is
    #[arg(value_name = "PATH")]
    path: String,
}

impl Tune {
    pub(crate) async fn run(&self, kind: Kind, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let mount = kind.mount(&self.path)?;
        let doing = format!("tuning {} {mount}/", kind.words());
        let path = format!("{}/{mount}/tune", kind.table());
        let body = Value::Object(self.body()?);
        let answer = context.api().await?.write(&doing, &path, &body).await?;
        let done = format!("Success! Tuned {} at: {mount}/", kind.words());
        Ok(Output::done(format, &done).with_notes(&answer.warning_text()))
    }

    fn body(&self) -> Result<Map<String, Value>, Failure> {
        let mut body = self.settings.config();
        body.extend(self.settings.description().map(|text| ("description".into(), text.into())));
        body.extend(self.settings.options()?.map(|options| ("options".into(), options)));
        Ok(body)
    }
}
