//! `conclave operator seal`.

use clap::Args;
use conclave_sdk::{Error, ErrorCode};

use super::{Context, Failure, success};
use crate::output::{Format, Output};

/// Seal a node.
#[derive(Debug, Args)]
pub(crate) struct Seal {
    /// Seal every member, the leader last
    #[arg(long)]
    all: bool,
}

impl Seal {
    pub(crate) async fn run(&self, context: &Context) -> Result<Output, Failure> {
        let format = context.format()?;
        let operator = context.client().await?.operator();
        if !self.all {
            operator.seal(&context.node_address()?).await?;
            return Ok(success(format, "The node is sealed."));
        }
        let mut members = operator.members().await?;
        // The leader goes last, so that leadership does not wander through nodes about to seal.
        members.sort_by_key(|member| member.leader);
        let mut attempts = Vec::new();
        for member in members {
            let sealed = operator.seal(&member.api_addr).await;
            attempts.push((member.api_addr, sealed));
        }
        outcome(format, &attempts)
    }
}

/// One node that does not seal must not keep the others open, so all were tried; what is told are
/// those that may still be open.
fn outcome(format: Format, attempts: &[(String, Result<(), Error>)]) -> Result<Output, Failure> {
    let open: Vec<String> = attempts
        .iter()
        .filter_map(|(address, sealed)| {
            let error = sealed.as_ref().err()?;
            let already = error.code() == Some(ErrorCode::Sealed);
            (!already).then(|| format!("\n  {address}: {error}"))
        })
        .collect();
    if open.is_empty() {
        return Ok(success(format, "All nodes are sealed."));
    }
    let (failed, all) = (open.len(), attempts.len());
    Err(Failure::Server(format!(
        "{failed} of {all} nodes could not be sealed and may be open; try again:{}",
        open.concat()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: ErrorCode) -> Result<(), Error> {
        Err(Error::Refused { code, message: "words".into() })
    }

    #[test]
    fn a_node_that_is_sealed_already_counts_as_done() {
        let attempts = [("a".to_owned(), Ok(())), ("b".to_owned(), refused(ErrorCode::Sealed))];
        let output = outcome(Format::Table, &attempts).expect("all are sealed");
        assert_eq!(output, success(Format::Table, "All nodes are sealed."));
    }

    #[test]
    fn nodes_that_failed_are_told_by_address() {
        let attempts = [
            ("https://a:1".to_owned(), refused(ErrorCode::PermissionDenied)),
            ("https://b:1".to_owned(), refused(ErrorCode::Sealed)),
            ("https://c:1".to_owned(), Err(Error::OutcomeUnknown { message: "no answer".into() })),
        ];
        let failure = outcome(Format::Table, &attempts).expect_err("two are open");
        assert_eq!(failure.exit_code(), crate::EXIT_SERVER);
        crate::golden::check("output/seal-all-failed.txt", &format!("{failure}\n"));
    }
}
