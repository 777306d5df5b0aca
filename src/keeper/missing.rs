//! Files that were missing or damaged when the box opened, and are back: they count at once.

use super::SOCKET;
use super::core::{Core, CoreError, lock};
use super::reopen::NewKeys;
use std::sync::PoisonError;

impl Core {
    /// Writes the spool key's public half for intake where it is not there; whether that was so.
    pub(super) fn keep_spool_key_file(&self) -> Result<bool, CoreError> {
        let keyring = self.keyring.read().unwrap_or_else(PoisonError::into_inner);
        let key = keyring.current_spool_key();
        let public = key.map(|key| key.opening().sealing_key());
        match public.filter(|public| !self.data.has_spool_key(public)) {
            Some(public) => Ok(self.data.write_spool_key(&public).map(|()| true)?),
            None => Ok(false),
        }
    }

    /// Ends this keeper where nobody can ask it any more, for the next one makes its socket anew.
    pub(super) fn unless_reachable(&self) -> Result<(), CoreError> {
        if self.data.join(SOCKET).exists() {
            return Ok(());
        }
        tracing::error!("{SOCKET} was removed; the keeper begins anew");
        Self::begin_again()
    }

    /// Takes up the people file and the spool's public key where one was missing or damaged.
    pub(super) fn look_again(&self) -> Result<(), CoreError> {
        if self.keep_spool_key_file()? {
            tracing::warn!("the spool's public key was missing or damaged, and is written anew");
        }
        if lock(&self.people).look_again()? {
            tracing::info!("the people file is back");
        }
        Ok(())
    }

    /// Keys in escrow that were missing or damaged and are back.
    pub(super) fn keys_that_are_back(&self) -> Vec<NewKeys> {
        let back = self.escrow.iter().filter_map(|(tenant, store)| {
            let infos = store.look_again();
            let came = !infos.is_empty();
            let hints = infos.into_iter().flat_map(|info| info.hints).collect();
            came.then_some((tenant.clone(), hints))
        });
        back.collect()
    }
}
