//! A file that is opened by its device's writer, and again until it can be: a place that is not
//! there, full or forbidden holds up requests and nothing else of the node.

use std::path::PathBuf;

use bytes::Bytes;
use conclave_core::audit::{AppendError, LINE_BYTES_MAX, Sink, SinkError, Tail};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::file::FileSink;
use super::{DeviceConfig, Target, blocking};

/// Where a file device writes once it is open.
pub(super) struct LaterFile {
    place: Result<Place, String>,
    open: Option<FileSink>,
}

/// A file, and what must hold each time it is opened.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) config: DeviceConfig,
    /// Present where an API named the file.
    pub(super) from_api: Option<FromApi>,
}

/// What an API names must lie inside this directory; nowhere, if there is none.
#[derive(Debug, Clone)]
pub(super) struct FromApi {
    pub(super) directory: Option<PathBuf>,
}

impl LaterFile {
    /// `Err`: why the device takes nothing here.
    pub(super) fn new(place: Result<Place, String>) -> Self {
        Self { place, open: None }
    }
}

impl Place {
    /// Opens the file now, where it may be opened.
    pub(super) async fn open(self) -> Result<(FileSink, Tail), SinkError> {
        let Self { config, from_api } = self;
        let Target::File { path, mode } = config.target.clone() else {
            return Err(SinkError::Unusable("the audit device is no file".into()));
        };
        let prefix = config.device.prefix.clone();
        if let Some(FromApi { directory }) = from_api {
            blocking(move || {
                let checked = config.check_from_api(directory.as_deref());
                checked.map_err(|error| SinkError::Unusable(error.to_string()))
            })
            .await?;
        }
        FileSink::open(path, mode, prefix).await
    }
}

impl Sink for LaterFile {
    fn append(&mut self, lines: Vec<Bytes>) -> BoxFuture<'_, Result<(), AppendError>> {
        match &mut self.open {
            Some(file) => file.append(lines),
            None => {
                let error = SinkError::Unusable("the audit log is not open yet".into());
                let nothing = AppendError { lines: 0, bytes: 0, error };
                futures::future::ready(Err(nothing)).boxed()
            }
        }
    }

    fn sync(&mut self) -> BoxFuture<'static, Result<(), SinkError>> {
        match &mut self.open {
            Some(file) => file.sync(),
            None => futures::future::ready(Ok(())).boxed(),
        }
    }

    fn reopen(&mut self) -> BoxFuture<'_, Result<Tail, SinkError>> {
        let place = self.place.clone().map_err(SinkError::Unusable);
        async move {
            let (file, tail) = place?.open().await?;
            self.open = Some(file);
            Ok(tail)
        }
        .boxed()
    }

    fn line_bytes_max(&self) -> usize {
        LINE_BYTES_MAX
    }
}
