//! The engines that mounts may name.

use std::collections::BTreeMap;
use std::sync::Arc;

use conclave_mount::Engine;

/// Engines by their type's name. The composition root fills it; the core knows none by name.
#[derive(Clone)]
pub struct EngineRegistry {
    engines: BTreeMap<&'static str, Arc<dyn Engine>>,
}

impl EngineRegistry {
    /// A registry of these engines.
    pub fn new(engines: Vec<Arc<dyn Engine>>) -> Self {
        Self { engines: engines.into_iter().map(|engine| (engine.kind(), engine)).collect() }
    }

    /// Sorted by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = &dyn Engine> {
        self.engines.values().map(|engine| &**engine)
    }

    pub(crate) fn get(&self, kind: &str) -> Option<&Arc<dyn Engine>> {
        self.engines.get(kind)
    }
}
