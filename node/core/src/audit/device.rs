//! One device as the broker sees it: what it wants, a bounded queue, and how it fares.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conclave_ports::Ports;
use tokio::sync::{mpsc, oneshot};

use super::sink::{Sink, SinkError};
use super::writer::{Control, Job, Writer};
use super::{Filter, Head, Tail};

/// The most records that wait for one device.
pub(super) const QUEUE_MAX: usize = 1024;

/// The most bytes that wait for one device.
const QUEUE_BYTES_MAX: usize = 32 << 20;

/// The most requests to open anew or to close that wait.
const CONTROL_MAX: usize = 4;

/// How a device writes, whatever its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceOptions {
    /// Its name, with a slash at its end: `file/`.
    pub path: String,
    /// `file`, `syslog` or `socket`.
    pub kind: &'static str,
    /// For people.
    pub description: String,
    /// The options as they were given, for people.
    pub shown: BTreeMap<String, String>,
    /// Stands before each line.
    pub prefix: String,
    /// Which records it takes; all where there is none.
    pub filter: Option<Filter>,
    /// It takes what no other device's filter lets in, and only that.
    pub fallback: bool,
    /// Hides paths, too.
    pub hash_paths: bool,
    /// Writes counts instead of the names that a LIST answers.
    pub elide_list_responses: bool,
    /// Whether accessors are hidden.
    pub hmac_accessor: bool,
    /// Nothing is hidden: for tests.
    pub danger_log_raw: bool,
    /// Each record is durable before its request goes on.
    pub sync: bool,
}

impl Default for DeviceOptions {
    fn default() -> Self {
        Self {
            path: String::new(),
            kind: "file",
            description: String::new(),
            shown: BTreeMap::new(),
            prefix: String::new(),
            filter: None,
            fallback: false,
            hash_paths: false,
            elide_list_responses: false,
            hmac_accessor: true,
            danger_log_raw: false,
            sync: false,
        }
    }
}

/// A device whose writer runs. It belongs to the node and outlives sealing; the last reference ends
/// the writer after what waits was written.
pub struct Device {
    options: DeviceOptions,
    line_bytes_max: usize,
    queue: mpsc::Sender<Job>,
    control: mpsc::Sender<Control>,
    shared: Arc<Shared>,
}

impl Device {
    /// Starts the writer. `tail` is what the sink found; `known` is the newest head that the
    /// cluster has of this device, for a log whose file is gone: numbers never start over.
    pub fn start(
        options: DeviceOptions,
        sink: Box<dyn Sink>,
        tail: Tail,
        known: Option<Head>,
        ports: &Ports,
    ) -> Arc<Self> {
        Self::begin(options, sink, Some(tail), known, ports)
    }

    /// Starts the writer of a sink that is not open yet. The writer opens it and, where that fails,
    /// tries again by itself; until then the device takes nothing.
    pub fn start_unopened(
        options: DeviceOptions,
        sink: Box<dyn Sink>,
        known: Option<Head>,
        ports: &Ports,
    ) -> Arc<Self> {
        Self::begin(options, sink, None, known, ports)
    }

    fn begin(
        options: DeviceOptions,
        sink: Box<dyn Sink>,
        tail: Option<Tail>,
        known: Option<Head>,
        ports: &Ports,
    ) -> Arc<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let (control, commands) = mpsc::channel(CONTROL_MAX);
        let shared = Arc::new(Shared::new(known.unwrap_or(Head::START)));
        let line_bytes_max = sink.line_bytes_max();
        let writer =
            Writer::new(&options, sink, tail, ports.clone(), shared.clone(), jobs, commands);
        ports.spawn.spawn("audit-device", Box::pin(writer.run()));
        Arc::new(Self { options, line_bytes_max, queue, control, shared })
    }

    /// How it writes.
    #[must_use]
    pub fn options(&self) -> &DeviceOptions {
        &self.options
    }

    /// The newest line.
    #[must_use]
    pub fn head(&self) -> Head {
        self.shared.heads().written
    }

    /// The newest line that a power failure does not take: what may be committed as an anchor.
    #[must_use]
    pub fn durable_head(&self) -> Head {
        self.shared.heads().durable
    }

    /// The cluster turns out to have this head of it. Where its log was cut before it was opened, the
    /// numbers go on after that head, so that the gap shows.
    pub fn go_on_after(&self, known: Head) {
        self.shared.know(known);
    }

    /// Opens the device's place anew, after its file was moved away. Waits for what is under way.
    ///
    /// # Errors
    /// It cannot be opened; the old one goes on being used.
    pub async fn reopen(&self) -> Result<(), SinkError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.control.send(Control::Reopen(answer)).await.is_ok();
        match answered.await {
            Ok(outcome) if sent => outcome,
            _ => Err(SinkError::Unusable("the audit device has been closed".into())),
        }
    }

    /// Writes what waits, makes it durable and ends the writer.
    pub async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        if self.control.send(Control::Close(answer)).await.is_ok() {
            let _ = answered.await;
        }
    }

    pub(super) fn line_bytes_max(&self) -> usize {
        self.line_bytes_max
    }

    /// Hands a line to the writer. The receiver gets an error where the device does not take it;
    /// `None`: the queue is full.
    pub(super) fn offer(&self, line: Vec<u8>) -> Option<oneshot::Receiver<()>> {
        let bytes = line.len();
        let waiting = self.shared.waiting_bytes.fetch_add(bytes, Ordering::AcqRel);
        let (taken, answer) = oneshot::channel();
        let fits = waiting + bytes <= QUEUE_BYTES_MAX;
        if fits && self.queue.try_send(Job { line, taken }).is_ok() {
            return Some(answer);
        }
        self.shared.waiting_bytes.fetch_sub(bytes, Ordering::AcqRel);
        self.miss();
        None
    }

    /// Notes that a record is not in this device's log.
    pub(super) fn miss(&self) {
        self.shared.miss(1);
    }

    /// Notes that a request was refused that this device could have let pass.
    pub(super) fn refused(&self) {
        self.shared.refused.store(true, Ordering::Release);
    }

    /// Since when it has taken nothing, and whether a request was refused for that.
    pub(super) fn trouble(&self) -> Option<(Duration, bool)> {
        let since = self.shared.trouble_since()?;
        Some((since, self.shared.refused.load(Ordering::Acquire)))
    }
}

/// What writer and broker share.
pub(super) struct Shared {
    /// Monotonic milliseconds plus one; 0 while nothing is wrong.
    trouble_since_ms: AtomicU64,
    refused: AtomicBool,
    missed: AtomicU64,
    waiting_bytes: AtomicUsize,
    heads: Mutex<Heads>,
    /// What the cluster has, learnt since the writer looked last.
    known: Mutex<Option<Head>>,
}

#[derive(Clone, Copy)]
struct Heads {
    written: Head,
    durable: Head,
}

impl Shared {
    fn new(head: Head) -> Self {
        Self {
            trouble_since_ms: AtomicU64::new(0),
            refused: AtomicBool::new(false),
            missed: AtomicU64::new(0),
            waiting_bytes: AtomicUsize::new(0),
            heads: Mutex::new(Heads { written: head, durable: head }),
            known: Mutex::default(),
        }
    }

    /// An attempt to write begins: until it succeeds, the device takes nothing.
    pub(super) fn begin(&self, now: Duration) {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let _ = self.trouble_since_ms.compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire);
    }

    pub(super) fn succeed(&self) {
        self.trouble_since_ms.store(0, Ordering::Release);
        self.refused.store(false, Ordering::Release);
    }

    fn trouble_since(&self) -> Option<Duration> {
        let ms = self.trouble_since_ms.load(Ordering::Acquire).checked_sub(1)?;
        Some(Duration::from_millis(ms))
    }

    pub(super) fn miss(&self, records: u64) {
        self.missed.fetch_add(records, Ordering::AcqRel);
        metrics::counter!("conclave_audit_missed_records_total").increment(records);
    }

    /// Records missed since it was last asked.
    pub(super) fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::AcqRel)
    }

    pub(super) fn dequeue(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    fn know(&self, known: Head) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }

    pub(super) fn take_known(&self) -> Option<Head> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Where the log that was found goes on.
    pub(super) fn restart_at(&self, head: Head) {
        *self.lock() = Heads { written: head, durable: head };
    }

    pub(super) fn written(&self, head: Head) {
        self.lock().written = head;
    }

    pub(super) fn durable(&self, head: Head) {
        self.lock().durable = head;
    }

    fn heads(&self) -> Heads {
        *self.lock()
    }

    pub(super) fn head(&self) -> Head {
        self.heads().written
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Heads> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
