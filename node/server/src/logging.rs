//! Logs on standard error, as text or JSON, with a level that can change while the process runs.
//!
//! Only this project's own crates follow the configured level. Crates of others stay at `warn`
//! whatever an operator sets: their debug output prints frames and headers, and no secret may
//! reach a log.

use std::str::FromStr;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// What stops the node or loses something.
    Error,
    /// What a person should look at.
    Warn,
    /// What happened, at the rate of operations, not of requests.
    #[default]
    Info,
    /// Each step of the rare paths.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    fn filter(self) -> EnvFilter {
        // openraft warns at every heartbeat to a dead peer; leader changes we log ourselves.
        EnvFilter::new(format!("warn,openraft=error,conclave={}", self.name()))
    }
}

impl FromStr for LogLevel {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.to_ascii_lowercase().as_str() {
            "error" | "err" => Ok(Self::Error),
            "warn" | "warning" => Ok(Self::Warn),
            "info" | "notice" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(()),
        }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// Something else in this process installed a subscriber before.
    #[error("logging is set up already; install it once, at the start of main")]
    Installed,
    /// The subscriber is gone.
    #[error("the log level cannot be changed any more; restart the node")]
    Gone,
}

/// Changes the level of the installed logs.
#[derive(Clone)]
pub struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl LogControl {
    /// Sets the level from now on.
    ///
    /// # Errors
    /// [`LoggingError::Gone`] while the process ends.
    pub fn set_level(&self, level: LogLevel) -> Result<(), LoggingError> {
        self.filter.reload(level.filter()).map_err(|_| LoggingError::Gone)
    }
}

/// Sends the logs of this process to standard error.
///
/// # Errors
/// [`LoggingError::Installed`] where that happened before.
pub fn install(format: LogFormat, level: LogLevel) -> Result<LogControl, LoggingError> {
    let (filter, control) = reload::Layer::new(level.filter());
    let lines: Box<dyn Layer<_> + Send + Sync> = match format {
        LogFormat::Text => fmt::layer().with_writer(std::io::stderr).with_ansi(false).boxed(),
        LogFormat::Json => fmt::layer().json().with_writer(std::io::stderr).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(|_| LoggingError::Installed)?;
    Ok(LogControl { filter: control })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_parse_in_vaults_spelling_and_order_by_amount() {
        assert_eq!("WARN".parse(), Ok(LogLevel::Warn));
        assert_eq!("err".parse(), Ok(LogLevel::Error));
        assert_eq!("loud".parse::<LogLevel>(), Err(()));
        assert!(LogLevel::Error < LogLevel::Trace);
    }

    #[test]
    fn foreign_crates_stay_quiet_at_every_level() {
        for level in [LogLevel::Info, LogLevel::Debug, LogLevel::Trace] {
            let filter = level.filter().to_string();
            assert!(filter.split(',').any(|part| part == "warn"), "{filter}");
        }
    }

    #[test]
    fn installing_twice_is_refused_and_the_level_can_change() {
        let control = install(LogFormat::Json, LogLevel::Error).expect("nothing was installed");
        assert!(matches!(install(LogFormat::Text, LogLevel::Info), Err(LoggingError::Installed)));
        assert!(!tracing::enabled!(target: "conclave_raft", tracing::Level::DEBUG));
        control.set_level(LogLevel::Debug).expect("the subscriber lives");
        assert!(tracing::enabled!(target: "conclave_raft", tracing::Level::DEBUG));
        assert!(!tracing::enabled!(target: "h2", tracing::Level::DEBUG));
    }
}
