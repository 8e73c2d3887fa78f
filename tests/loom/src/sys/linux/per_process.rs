//! For the models that do not fork: one value, and each run's own.

use crate::errno::Result;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

static RUN: AtomicUsize = AtomicUsize::new(0);

/// A new run begins, and with it a process.
pub(crate) fn begin() {
    RUN.fetch_add(1, Ordering::Relaxed);
}

pub(crate) struct PerProcess<T: 'static> {
    value: Mutex<Option<(usize, &'static T)>>,
}

#[allow(dead_code, reason = "as the library's")]
impl<T> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess { value: Mutex::new(None) }
    }

    pub(crate) fn get(&self) -> Option<&'static T> {
        let value = self.value.lock().unwrap();
        value.filter(|(run, _)| *run == RUN.load(Ordering::Relaxed)).map(|(_, value)| value)
    }

    pub(crate) fn inherited(&self) -> Option<&'static T> {
        None
    }

    pub(crate) fn start(
        &self,
        _: impl FnOnce(&'static T) -> bool,
        make: impl FnOnce() -> T,
    ) -> Result<&'static T> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let value = Box::leak(Box::new(make()));
        *self.value.lock().unwrap() = Some((RUN.load(Ordering::Relaxed), value));
        Ok(value)
    }
}
