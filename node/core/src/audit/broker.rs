//! What a request passes twice: before it is executed and before it is answered.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use conclave_ports::Ports;
use tokio::sync::oneshot;

use super::filter::Subject;
use super::line::{Format, subject};
use super::record::{Record, ResponsePart};
use super::sink::SinkError;
use super::{Device, HashKey, Head};

/// How long a request waits for a device that is slow.
const RECORD_WAIT_MAX: Duration = Duration::from_secs(3);

/// No device took the record: the request must end here, and its answer must not be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no audit device takes records, so no request is served; free space on the device's disk or see \
     the node's log, then it goes on by itself"
)]
pub struct Blocked;

/// There is no such device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown audit backend; `conclave audit list` shows those that are there")]
pub struct UnknownDevice;

/// All devices of a node, each with the key that hides values in its log. Made when the node is
/// unsealed, dropped with the keys; the devices themselves live on.
pub struct Audit {
    devices: Vec<(Arc<Device>, HashKey)>,
    ports: Ports,
}

impl Audit {
    /// Takes every enabled device. Without one, nothing is logged and nothing is refused.
    pub fn new(devices: Vec<(Arc<Device>, HashKey)>, ports: Ports) -> Self {
        Self { devices, ports }
    }

    /// Whether there is no device, so that nothing is logged and nothing refused.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.devices.is_empty()
    }

    /// Logs a request before it is executed: returns once at least one device has handed it to
    /// its kernel.
    ///
    /// # Errors
    /// [`Blocked`]: it must not be executed.
    pub async fn request(&self, record: &Record<'_>) -> Result<(), Blocked> {
        let offered = self.offer(record, None);
        self.taken(offered).await
    }

    /// Logs the answer before it is given.
    ///
    /// # Errors
    /// [`Blocked`]: it must not be given, though the request was executed.
    pub async fn response(
        &self,
        record: &Record<'_>,
        response: &ResponsePart<'_>,
    ) -> Result<(), Blocked> {
        let offered = self.offer(record, Some(response));
        self.taken(offered).await
    }

    /// For how long requests have been refused, or would have been: a leader hands over after 2 s.
    /// `None` while records are taken.
    #[must_use]
    pub fn blocked_for(&self) -> Option<Duration> {
        let troubles: Vec<_> = self.devices.iter().map(|(device, _)| device.trouble()).collect();
        let all_since = match troubles.iter().all(Option::is_some) {
            true => troubles.iter().flatten().map(|(since, _)| *since).max(),
            false => None,
        };
        let refused = troubles.iter().flatten().filter(|(_, refused)| *refused);
        let since = refused.map(|(since, _)| *since).chain(all_since).min()?;
        Some(self.ports.clock.monotonic().saturating_sub(since))
    }

    /// What `input` looks like in a device's log: `sys/audit-hash`. The slash at the path's end may
    /// be left out.
    ///
    /// # Errors
    /// There is no such device.
    pub fn hash(&self, path: &str, input: &[u8]) -> Result<String, UnknownDevice> {
        let path = path.trim_end_matches('/');
        let named = |device: &Device| device.options().path.trim_end_matches('/') == path;
        let found = self.devices.iter().find(|(device, _)| named(device));
        found.map(|(_, key)| key.hash(input)).ok_or(UnknownDevice)
    }

    /// The devices.
    pub fn devices(&self) -> impl Iterator<Item = &Arc<Device>> {
        self.devices.iter().map(|(device, _)| device)
    }

    /// What may be committed as each device's anchor.
    #[must_use]
    pub fn durable_heads(&self) -> Vec<(String, Head)> {
        self.devices()
            .map(|device| (device.options().path.clone(), device.durable_head()))
            .collect()
    }

    /// Opens every device's place anew: for rotation.
    pub async fn reopen(&self) -> Vec<(String, Result<(), SinkError>)> {
        let mut outcomes = Vec::new();
        for device in self.devices() {
            let outcome = self.ports.within(RECORD_WAIT_MAX, device.reopen()).await;
            let outcome = outcome.unwrap_or(Err(SinkError::TimedOut));
            outcomes.push((device.options().path.clone(), outcome));
        }
        outcomes
    }

    /// Writes a line for each device that accepts the record.
    fn offer(&self, record: &Record<'_>, response: Option<&ResponsePart<'_>>) -> Offered<'_> {
        let accepting = self.accepting(&subject(record));
        let mut offered = Offered { waiting: Vec::new(), accepting: Vec::new() };
        for (device, key) in accepting {
            let format =
                Format { options: device.options(), key, line_bytes_max: device.line_bytes_max() };
            match format.line(record, response) {
                Ok(line) => offered.waiting.extend(device.offer(line)),
                Err(_) => device.miss(),
            }
            offered.accepting.push(device);
        }
        offered
    }

    fn accepting(&self, subject: &Subject<'_>) -> Vec<(&Device, &HashKey)> {
        let chosen = |fallback: bool| {
            let devices = self.devices.iter().filter(move |(device, _)| {
                let options = device.options();
                options.fallback == fallback
                    && options.filter.as_ref().is_none_or(|filter| filter.accepts(subject))
            });
            devices.map(|(device, key)| (&**device, key)).collect::<Vec<_>>()
        };
        let accepting = chosen(false);
        if accepting.is_empty() { chosen(true) } else { accepting }
    }

    async fn taken(&self, offered: Offered<'_>) -> Result<(), Blocked> {
        let Offered { waiting, accepting } = offered;
        if accepting.is_empty() {
            return Ok(());
        }
        if self.ports.within(RECORD_WAIT_MAX, first(waiting)).await == Ok(true) {
            metrics::counter!("conclave_audit_records_total").increment(1);
            return Ok(());
        }
        metrics::counter!("conclave_audit_refusals_total").increment(1);
        for device in accepting {
            device.refused();
        }
        Err(Blocked)
    }
}

struct Offered<'a> {
    waiting: Vec<oneshot::Receiver<()>>,
    accepting: Vec<&'a Device>,
}

/// Whether any of the devices took it, as soon as one did.
async fn first(mut waiting: Vec<oneshot::Receiver<()>>) -> bool {
    poll_fn(move |context| {
        let mut taken = false;
        waiting.retain_mut(|answer| match Pin::new(answer).poll(context) {
            Poll::Ready(outcome) => {
                taken |= outcome.is_ok();
                false
            }
            Poll::Pending => true,
        });
        if taken || waiting.is_empty() { Poll::Ready(taken) } else { Poll::Pending }
    })
    .await
}
