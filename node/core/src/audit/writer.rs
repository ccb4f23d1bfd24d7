//! The one task that writes a device's log: links lines, groups them, and heals.
//!
//! While a write fails, everything that arrives is refused at once, and the writer tries again by
//! itself, ever later up to [`BACK_OFF_MAX`]. A line of which a part was written is completed then;
//! where that cannot be, the record that follows names it. Whatever was refused or missed is counted
//! in the next record of the device's own.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use conclave_ports::Ports;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::chain::close;
use super::device::{DeviceOptions, QUEUE_MAX, Shared};
use super::marker::{Event, Marker};
use super::sink::{Sink, SinkError};
use super::{Ending, Head, Tail, Torn};

/// The most lines of one write.
const BATCH_MAX: usize = 256;

/// No line is added to a write of this size.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// A line is on its way to the disk at the latest after this; durable by 100 ms on a healthy disk.
const SYNC_DELAY_MAX: Duration = Duration::from_millis(50);

/// Between two attempts of a device that fails.
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// A line without its closing, and who waits for it: told once it is taken, dropped where it is not.
pub(super) struct Job {
    pub(super) line: Vec<u8>,
    pub(super) taken: oneshot::Sender<()>,
}

pub(super) enum Control {
    Reopen(oneshot::Sender<Result<(), SinkError>>),
    Close(oneshot::Sender<()>),
}

pub(super) struct Writer {
    path: String,
    prefix: String,
    sync_each: bool,
    sink: Box<dyn Sink>,
    ports: Ports,
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<Job>,
    control: mpsc::Receiver<Control>,
    head: Head,
    durable: Head,
    /// A record of the device's own that must be written before any other.
    owed: Option<Marker>,
    /// What stands at the end of the log lacks its newline.
    newline_owed: bool,
    partial: Option<Partial>,
    reopen_first: bool,
    /// Nothing was opened yet, so what is found says where the chain goes on.
    unopened: bool,
    back_off: Duration,
    /// Present while the device fails: the next attempt.
    retry: Option<BoxFuture<'static, ()>>,
    sync_due: Option<BoxFuture<'static, ()>>,
    syncing: Option<(Head, BoxFuture<'static, Result<(), SinkError>>)>,
}

/// A line of which a part was written.
struct Partial {
    line: Bytes,
    written: usize,
    head: Head,
}

/// A whole line and where the chain is after it.
type Line = (Bytes, Head);

enum Next {
    Job(Job),
    Control(Control),
    Retry,
    SyncDue,
    Synced(Head, Result<(), SinkError>),
    Ended,
}

impl Writer {
    pub(super) fn new(
        options: &DeviceOptions,
        sink: Box<dyn Sink>,
        tail: Option<Tail>,
        ports: Ports,
        shared: Arc<Shared>,
        jobs: mpsc::Receiver<Job>,
        control: mpsc::Receiver<Control>,
    ) -> Self {
        let head = shared.head();
        let mut writer = Self {
            path: options.path.clone(),
            prefix: options.prefix.clone(),
            sync_each: options.sync,
            sink,
            ports,
            shared,
            jobs,
            control,
            head,
            durable: head,
            owed: Some(Marker::new(Event::Opened)),
            newline_owed: false,
            partial: None,
            reopen_first: true,
            unopened: true,
            back_off: Duration::ZERO,
            retry: None,
            sync_due: None,
            syncing: None,
        };
        if let Some(tail) = tail {
            writer.opened(tail, Event::Opened);
        }
        writer
    }

    pub(super) async fn run(mut self) {
        self.attempt().await;
        loop {
            match self.next().await {
                Next::Job(job) => self.take(job).await,
                Next::Retry => self.attempt().await,
                Next::SyncDue => self.begin_sync(),
                Next::Synced(head, outcome) => self.synced(head, outcome),
                Next::Control(Control::Reopen(answer)) => {
                    let _ = answer.send(self.reopen().await);
                }
                Next::Control(Control::Close(answer)) => {
                    self.finish().await;
                    let _ = answer.send(());
                    return;
                }
                Next::Ended => return self.finish().await,
            }
        }
    }

    async fn next(&mut self) -> Next {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        if let Some((head, sync)) = &mut self.syncing
            && let Poll::Ready(outcome) = sync.as_mut().poll(context)
        {
            let head = *head;
            self.syncing = None;
            return Poll::Ready(Next::Synced(head, outcome));
        }
        if elapsed(&mut self.retry, context) {
            return Poll::Ready(Next::Retry);
        }
        if self.syncing.is_none() && elapsed(&mut self.sync_due, context) {
            return Poll::Ready(Next::SyncDue);
        }
        if let Poll::Ready(Some(control)) = self.control.poll_recv(context) {
            return Poll::Ready(Next::Control(control));
        }
        match self.jobs.poll_recv(context) {
            Poll::Ready(Some(job)) => Poll::Ready(Next::Job(job)),
            Poll::Ready(None) => Poll::Ready(Next::Ended),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes what waits, or refuses it while the device fails.
    async fn take(&mut self, first: Job) {
        let jobs = self.batch(first);
        if self.retry.is_some() {
            return self.shared.miss(jobs.len() as u64);
        }
        self.heed_known();
        self.owe_missed();
        let mut lines: Vec<Line> = self.own_line().into_iter().collect();
        let own_lines = lines.len();
        let own = (self.owed.take(), std::mem::take(&mut self.newline_owed));
        let mut head = lines.last().map_or(self.head, |(_, head)| *head);
        let mut waiting = Vec::with_capacity(jobs.len());
        for Job { mut line, taken } in jobs {
            head = close(&mut line, self.prefix.len(), head);
            lines.push((line.into(), head));
            waiting.push(taken);
        }
        let written = self.append(lines).await;
        if written < own_lines && self.partial.is_none() {
            (self.owed, self.newline_owed) = own;
        }
        let mut taken = written.saturating_sub(own_lines);
        if taken > 0 && self.sync_each && !self.sync_now().await {
            taken = 0;
        }
        self.shared.miss((waiting.len() - taken) as u64);
        for answer in waiting.into_iter().take(taken) {
            let _ = answer.send(());
        }
    }

    fn batch(&mut self, first: Job) -> Vec<Job> {
        let mut bytes = first.line.len();
        let mut jobs = vec![first];
        while jobs.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(job) = self.jobs.try_recv() else { break };
            bytes += job.line.len();
            jobs.push(job);
        }
        self.shared.dequeue(bytes);
        jobs
    }

    /// Appends the lines; tells how many were taken whole. Where that is not all, the device fails
    /// from here on.
    async fn append(&mut self, lines: Vec<Line>) -> usize {
        self.shared.begin(self.ports.clock.monotonic());
        let bytes = lines.iter().map(|(line, _)| line.clone()).collect();
        let (taken, failed) = match self.sink.append(bytes).await {
            Ok(()) => (lines.len(), None),
            Err(error) => (error.lines.min(lines.len()), Some(error)),
        };
        if let Some((_, head)) = lines[..taken].last() {
            self.advance(*head);
        }
        let Some(error) = failed else {
            if !self.sync_each {
                self.succeed();
            }
            return taken;
        };
        if let Some((line, head)) = lines.get(taken).filter(|_| error.bytes > 0) {
            let written = error.bytes.min(line.len());
            self.partial = Some(Partial { line: line.clone(), written, head: *head });
        }
        self.fail(&error.error, Event::Recovered);
        taken
    }

    fn advance(&mut self, head: Head) {
        self.head = head;
        self.shared.written(head);
        if self.sync_due.is_none() && !self.sync_each {
            self.sync_due = Some(self.ports.clock.sleep(SYNC_DELAY_MAX));
        }
    }

    /// One attempt of a device that has something of its own to write, or fails.
    async fn attempt(&mut self) {
        self.shared.begin(self.ports.clock.monotonic());
        if !(self.reopen_if_due().await && self.complete_partial().await) {
            return;
        }
        self.owe_missed();
        while let Some(line) = self.own_line() {
            let marker = self.owed.take();
            let newline = std::mem::take(&mut self.newline_owed);
            if self.append(vec![line]).await == 1 {
                continue;
            }
            if self.partial.is_none() {
                (self.owed, self.newline_owed) = (marker, newline);
            }
            return;
        }
        if !self.sync_each || self.sync_now().await {
            self.succeed();
        }
    }

    async fn reopen_if_due(&mut self) -> bool {
        if !self.reopen_first {
            return true;
        }
        match self.sink.reopen().await {
            Ok(tail) => {
                let event = self.owed.map_or(Event::Recovered, |owed| owed.event);
                self.opened(tail, event);
                true
            }
            Err(error) => {
                self.fail(&error, Event::Recovered);
                false
            }
        }
    }

    async fn complete_partial(&mut self) -> bool {
        let Some(mut partial) = self.partial.take() else { return true };
        match self.sink.append(vec![partial.line.slice(partial.written..)]).await {
            Ok(()) => {
                self.advance(partial.head);
                true
            }
            Err(error) => {
                partial.written += error.bytes;
                self.partial = Some(partial);
                self.fail(&error.error, Event::Recovered);
                false
            }
        }
    }

    /// Takes note of what stands at the end of a log that was just opened.
    fn opened(&mut self, tail: Tail, event: Event) {
        self.reopen_first = false;
        if std::mem::take(&mut self.unopened) {
            self.go_on_after(tail.head.unwrap_or(Head::START));
        }
        let partial = self.partial.take().map(|partial| Torn::of(&partial.line[..partial.written]));
        let (torn, newline) = match tail.ending {
            Ending::Whole => (partial, false),
            Ending::Unterminated => (partial, true),
            Ending::Torn { torn, terminated } => (Some(torn), !terminated),
        };
        let missed = self.owed.map_or(0, |owed| owed.missed);
        self.owed = Some(Marker { event, torn, missed });
        self.newline_owed = newline;
    }

    /// A device that began while the node had no key learns later how far the cluster saw it.
    fn heed_known(&mut self) {
        let Some(known) = self.shared.take_known().filter(|known| known.seq > self.head.seq) else {
            return;
        };
        self.tell_missing(self.head, known);
        self.head = known;
        self.durable = known;
        self.shared.restart_at(known);
    }

    fn tell_missing(&self, found: Head, known: Head) {
        tracing::error!(
            device = self.path,
            found = found.seq,
            known = known.seq,
            "lines are missing at the end of the audit log, or were changed; run `conclave audit verify -ask-cluster`"
        );
    }

    /// The chain goes on where the log ends, unless the cluster knows of later lines.
    fn go_on_after(&mut self, found: Head) {
        let known = self.head;
        if known.seq >= found.seq && known != found {
            self.tell_missing(found, known);
        }
        if found.seq > known.seq {
            self.head = found;
            self.durable = found;
            self.shared.restart_at(found);
        }
    }

    /// For rotation: what was written is made durable where it is, then a new place is opened.
    async fn reopen(&mut self) -> Result<(), SinkError> {
        let head = self.head;
        match self.sink.sync().await {
            Ok(()) => self.now_durable(head),
            Err(error) => self.fail(&error, Event::SyncFailed),
        }
        let tail = self.sink.reopen().await?;
        self.opened(tail, Event::Opened);
        self.retry = None;
        self.attempt().await;
        Ok(())
    }

    fn owe_missed(&mut self) {
        let missed = self.shared.take_missed();
        if missed > 0 {
            self.owed.get_or_insert(Marker::new(Event::Missed)).missed += missed;
        }
    }

    /// The owed record as a whole line.
    fn own_line(&self) -> Option<Line> {
        let marker = self.owed.as_ref()?;
        let newline = if self.newline_owed { "\n" } else { "" };
        let mut line = [newline, &self.prefix].concat().into_bytes();
        let before = line.len();
        marker.write(self.ports.clock.wall_ms(), &self.path, &mut line);
        let head = close(&mut line, before, self.head);
        Some((line.into(), head))
    }

    fn fail(&mut self, error: &SinkError, event: Event) {
        if self.back_off.is_zero() {
            tracing::error!(device = self.path, %error, "the audit device takes no records");
        }
        self.owed.get_or_insert(Marker::new(event));
        self.reopen_first |= !matches!(error, SinkError::Full);
        self.back_off = (self.back_off * 2).clamp(BACK_OFF_MIN, BACK_OFF_MAX);
        self.retry = Some(self.ports.clock.sleep(self.back_off));
    }

    fn succeed(&mut self) {
        if !self.back_off.is_zero() {
            tracing::info!(device = self.path, "the audit device takes records again");
        }
        self.back_off = Duration::ZERO;
        self.shared.succeed();
    }

    fn begin_sync(&mut self) {
        self.syncing = Some((self.head, self.sink.sync()));
    }

    fn synced(&mut self, head: Head, outcome: Result<(), SinkError>) {
        match outcome {
            Ok(()) => self.now_durable(head),
            Err(error) => self.fail(&error, Event::SyncFailed),
        }
    }

    async fn sync_now(&mut self) -> bool {
        let head = self.head;
        let outcome = self.sink.sync().await;
        let durable = outcome.is_ok();
        self.synced(head, outcome);
        if durable && self.retry.is_none() {
            self.succeed();
        }
        durable
    }

    fn now_durable(&mut self, head: Head) {
        if head.seq > self.durable.seq {
            self.durable = head;
            self.shared.durable(head);
        }
    }

    /// Writes what waits, once, and makes it durable.
    async fn finish(&mut self) {
        self.jobs.close();
        for _ in 0..QUEUE_MAX {
            let Ok(job) = self.jobs.try_recv() else { break };
            self.take(job).await;
        }
        let head = self.head;
        match self.sink.sync().await {
            Ok(()) => self.now_durable(head),
            Err(error) => {
                tracing::error!(device = self.path, %error, "the end of the audit log may be lost");
            }
        }
    }
}

/// Whether the time has come; forgets it then.
fn elapsed(timer: &mut Option<BoxFuture<'static, ()>>, context: &mut Context<'_>) -> bool {
    let due = timer.as_mut().is_some_and(|timer| timer.as_mut().poll(context).is_ready());
    if due {
        *timer = None;
    }
    due
}
