//! The sign that the intake is to stop.

use tokio::sync::watch;

/// Gives the sign.
pub struct Stopper(watch::Sender<bool>);

/// Waits for it.
#[derive(Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stopper {
    /// A sign not yet given.
    #[must_use]
    pub fn new() -> Self {
        Self(watch::channel(false).0)
    }

    /// One who waits for it.
    #[must_use]
    pub fn watch(&self) -> Stop {
        Stop(self.0.subscribe())
    }

    /// Gives the sign.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Default for Stopper {
    fn default() -> Self {
        Self::new()
    }
}

impl Stop {
    /// Ready once the sign is given, or can no longer be given.
    pub async fn requested(&mut self) {
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
