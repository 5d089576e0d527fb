//! Background tasks, none of which may end before the service stops.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinHandle, JoinSet},
};

/// The name of a task, as in `lane reserve 0`.
pub type TaskName = Arc<str>;

/// Runs background tasks, and tells when one of them ends that should not. Cheap to clone.
#[derive(Clone, Default)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    tasks: Mutex<Vec<(TaskName, AbortHandle)>>,
    /// The first task that ended before the service stopped.
    ended: watch::Sender<Option<TaskName>>,
    stopping: AtomicBool,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("tasks", &self.names()).finish_non_exhaustive()
    }
}

impl Supervisor {
    /// Runs a task, which must not end before [`Self::let_end`] is called. Must be called within a Tokio runtime.
    pub fn spawn(
        &self,
        name: impl Into<TaskName>,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let name = name.into();
        let handle = tokio::spawn(self.watched(name.clone(), task));
        self.tasks().push((name, handle.abort_handle()));
        handle
    }

    /// The same, in a set that its owner waits for.
    pub fn spawn_in(
        &self,
        set: &mut JoinSet<()>,
        name: impl Into<TaskName>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let name = name.into();
        let handle = set.spawn(self.watched(name.clone(), task));
        self.tasks().push((name, handle));
    }

    /// The first task that ended although it must not: it returned, panicked or was aborted.
    #[must_use]
    pub fn ended(&self) -> watch::Receiver<Option<TaskName>> {
        self.inner.ended.subscribe()
    }

    /// The names of the tasks, in the order in which they were started.
    #[must_use]
    pub fn names(&self) -> Vec<TaskName> {
        self.tasks().iter().map(|(name, _)| name.clone()).collect()
    }

    /// From now on tasks may end: the service stops.
    pub fn let_end(&self) {
        self.inner.stopping.store(true, Ordering::Relaxed);
    }

    /// Ends the tasks that are left.
    pub fn abort_all(&self) {
        self.tasks().iter().for_each(|(_, task)| task.abort());
    }

    /// Ends one task.
    #[cfg(feature = "testing")]
    pub fn abort(&self, name: &str) {
        self.tasks().iter().filter(|(one, _)| **one == *name).for_each(|(_, task)| task.abort());
    }

    fn watched(
        &self,
        name: TaskName,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let alive = Alive { name, supervisor: Arc::downgrade(&self.inner) };
        async move {
            let _alive = alive;
            task.await;
        }
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<(TaskName, AbortHandle)>> {
        self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Dropped when its task ends, however it does.
struct Alive {
    name: TaskName,
    supervisor: Weak<Inner>,
}

impl Drop for Alive {
    fn drop(&mut self) {
        let Some(supervisor) = self.supervisor.upgrade() else { return };
        if supervisor.stopping.load(Ordering::Relaxed) {
            return;
        }
        let panicked = thread::panicking();
        tracing::error!(task = &*self.name, panicked, "a background task ended: the service stops");
        supervisor.ended.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert_with(|| self.name.clone());
            is_first
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    async fn first_to_end(supervisor: &Supervisor) -> String {
        let mut ended = supervisor.ended();
        let ended = ended.wait_for(Option::is_some).await.unwrap();
        ended.as_deref().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_task_that_returns_panics_or_is_aborted_is_named() {
        let returns = Supervisor::default();
        returns.spawn("stays", pending());
        returns.spawn("returns", async {});
        assert_eq!(first_to_end(&returns).await, "returns");

        let panics = Supervisor::default();
        let mut set = JoinSet::new();
        panics.spawn_in(&mut set, "panics", async {
            assert!(std::hint::black_box(false), "on purpose");
        });
        assert_eq!(first_to_end(&panics).await, "panics");

        let aborted = Supervisor::default();
        aborted.spawn("aborted", pending()).abort();
        assert_eq!(first_to_end(&aborted).await, "aborted");
    }

    #[tokio::test]
    async fn tasks_may_end_once_the_service_stops() {
        let supervisor = Supervisor::default();
        let task = supervisor.spawn("task", pending());
        supervisor.let_end();
        supervisor.abort_all();
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(supervisor.ended().borrow().is_none());
    }
}
