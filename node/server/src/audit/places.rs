//! The devices of this node: which its configuration names, which an API may add, and those that
//! are open.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use conclave_core::audit::{Device, DeviceOptions, Head};
use conclave_core::{AuditPlaces, Error, WantedDevice};
use conclave_ports::Ports;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::Value;

use super::later::{FromApi, LaterFile, Place};
use super::{DeviceConfig, DeviceConfigError, RawDevice, start_device};
use crate::config::AuditConfig;

/// How long the node waits for a device that is opened again or ends.
const DEVICE_WAIT_MAX: Duration = Duration::from_secs(2);

/// Begins devices and keeps them while the node comes and goes between sealed and unsealed.
pub struct AuditDevices {
    config: AuditConfig,
    node: String,
    ports: Ports,
    running: Mutex<BTreeMap<[u8; 16], Arc<Device>>>,
}

impl AuditDevices {
    /// Opens nothing yet: a device begins when the first request is to be logged there.
    pub fn new(config: AuditConfig, node: String, ports: Ports) -> Self {
        Self { config, node, ports, running: Mutex::default() }
    }

    /// Opens every place anew: for rotation. What cannot be opened is named in the node's log, and
    /// the old place goes on being used.
    pub async fn reopen(&self) {
        let devices: Vec<_> = self.running().values().cloned().collect();
        for device in devices {
            let path = &device.options().path;
            match self.ports.within(DEVICE_WAIT_MAX, device.reopen()).await {
                Ok(Ok(())) => tracing::info!(device = path, "the audit log was opened again"),
                Ok(Err(error)) => {
                    tracing::error!(device = path, %error, "the audit log was not opened again");
                }
                Err(_) => tracing::error!(
                    device = path,
                    "the audit log was not opened again in time; see whether its disk hangs"
                ),
            }
        }
    }

    /// Writes what waits and ends every device.
    pub async fn close(&self) {
        let devices = std::mem::take(&mut *self.running());
        for device in devices.values() {
            if self.ports.within(DEVICE_WAIT_MAX, device.close()).await.is_err() {
                let path = &device.options().path;
                tracing::error!(device = path, "the end of the audit log may not be written");
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<[u8; 16], Arc<Device>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this node's configuration says of the device, or what an API asked for.
    fn place(&self, wanted: &WantedDevice) -> Result<Place, DeviceConfigError> {
        let own = self.config.devices.iter().find(|device| id(device) == wanted.id);
        if let Some(config) = own {
            return Ok(Place { config: config.clone(), from_api: None });
        }
        let config = DeviceConfig::new(raw(wanted), Path::new(""), &mut Vec::new())?;
        let from_api = Some(FromApi { directory: self.config.api_directory.clone() });
        Ok(Place { config, from_api })
    }
}

impl AuditPlaces for AuditDevices {
    fn node(&self) -> Option<&str> {
        Some(&self.node)
    }

    fn configured(&self) -> Vec<WantedDevice> {
        let wanted = |config: &DeviceConfig| WantedDevice {
            id: id(config),
            path: config.device.path.clone(),
            kind: config.device.kind.to_owned(),
            description: config.device.description.clone(),
            local: true,
            options: config.device.shown.clone(),
        };
        self.config.devices.iter().map(wanted).collect()
    }

    fn device(&self, wanted: &WantedDevice, known: Option<Head>) -> Arc<Device> {
        let begin = || match self.place(wanted) {
            Ok(place) => start_device(place, known, &self.ports),
            Err(error) => {
                let sink = Box::new(LaterFile::new(Err(error.to_string())));
                let options =
                    DeviceOptions { path: wanted.path.clone(), ..DeviceOptions::default() };
                Device::start_unopened(options, sink, known, &self.ports)
            }
        };
        let mut running = self.running();
        if let Some(device) = running.get(&wanted.id) {
            known.into_iter().for_each(|known| device.go_on_after(known));
            return device.clone();
        }
        running.entry(wanted.id).or_insert_with(begin).clone()
    }

    fn probe<'a>(&'a self, wanted: &'a WantedDevice) -> BoxFuture<'a, Result<(), Error>> {
        let refused = |error: &dyn std::error::Error| Error::invalid(error.to_string());
        async move {
            let place = self.place(wanted).map_err(|error| refused(&error))?;
            place
                .config
                .check_from_api(self.config.api_directory.as_deref())
                .map_err(|error| refused(&error))?;
            let opened = self.ports.within(DEVICE_WAIT_MAX, place.open()).await;
            match opened {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(refused(&error)),
                Err(_) => Err(Error::invalid(
                    "the audit device cannot be opened in time; see whether its disk hangs",
                )),
            }
        }
        .boxed()
    }

    fn retain(&self, ids: &[[u8; 16]]) {
        self.running().retain(|id, _| ids.contains(id));
    }
}

fn id(config: &DeviceConfig) -> [u8; 16] {
    WantedDevice::derive_id(&config.device.path)
}

fn raw(wanted: &WantedDevice) -> RawDevice {
    let options = wanted.options.iter();
    RawDevice {
        kind: wanted.kind.clone(),
        path: wanted.path.clone(),
        description: wanted.description.clone(),
        options: options.map(|(name, text)| (name.clone(), Value::String(text.clone()))).collect(),
    }
}
