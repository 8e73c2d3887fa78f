//! In place of the library's lock.

/// No thread of a model leaves a lock behind.
pub(crate) fn reclaim<T>(_: &Mutex<T>, _: impl FnOnce(&mut T)) -> bool {
    false
}

/// The library's mutex by its methods; its own lock has a model of its own.
#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }

    pub(crate) fn try_lock(&self) -> Option<loom::sync::MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}
