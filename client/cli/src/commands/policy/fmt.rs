//! `conclave policy fmt`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Context, Failure, layout, read_text};
use crate::output::Output;

/// Lay a policy's file out as policies usually look.
#[derive(Debug, Args)]
pub(crate) struct Fmt {
    /// The file, which is rewritten; - reads standard input and prints the text
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Fmt {
    pub(crate) fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let text = read_text(&self.file)?;
        let name = self.file.display();
        let laid_out = layout::lay_out(&text)
            .map_err(|why| Failure::local(format!("Error formatting policy: {name}:{why}")))?;
        if self.file == Path::new("-") {
            return Ok(Output::good(laid_out));
        }
        if laid_out != text {
            std::fs::write(&self.file, &laid_out).map_err(|error| {
                Failure::local(format!("{name} cannot be written: {error}; check its rights"))
            })?;
        }
        Ok(Output::done(format, &format!("Success! Formatted policy: {name}")))
    }
}
