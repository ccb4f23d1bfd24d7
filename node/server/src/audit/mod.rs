//! Where audit records really go: files, the system log, sockets.
//!
//! Owns the configuration of audit devices and their sinks. Invariant: a device writes only where
//! this node's own configuration says; what an API names passes [`DeviceConfig::check_from_api`]
//! first. How lines look, which are accepted and what happens when a device fails is the core's.

mod config;
mod places;

mod file;
mod later;
mod socket;
mod syslog;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use conclave_core::audit::{Device, Head, Sink, SinkError, Tail};
use conclave_ports::Ports;

pub use config::{DeviceConfig, DeviceConfigError, RawDevice, SocketAddress, Target};
pub use places::AuditDevices;

use later::{LaterFile, Place};
use socket::SocketSink;
use syslog::SyslogSink;

/// Starts the writer of a device, which opens the place, and again where it fails. `known` is the
/// newest head that the cluster has of it.
fn start_device(place: Place, known: Option<Head>, ports: &Ports) -> Arc<Device> {
    let options = place.config.device.clone();
    let sink: Box<dyn Sink> = match &place.config.target {
        Target::File { .. } => {
            let sink = Box::new(LaterFile::new(Ok(place)));
            return Device::start_unopened(options, sink, known, ports);
        }
        Target::Syslog { socket, facility, tag } => {
            Box::new(SyslogSink::new(socket.clone(), *facility, tag, ports.clock.clone()))
        }
        Target::Socket { address, write_timeout } => {
            Box::new(SocketSink::new(address.clone(), *write_timeout))
        }
    };
    Device::start(options, sink, Tail::EMPTY, known, ports)
}

/// Runs what may wait for a disk or a receiver where it holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SinkError> + Send + 'static,
) -> Result<T, SinkError> {
    let panicked = |_| Err(io::Error::other("a task that writes the audit log panicked").into());
    tokio::task::spawn_blocking(work).await.unwrap_or_else(panicked)
}
