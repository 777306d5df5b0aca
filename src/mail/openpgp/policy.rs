//! Sequoia asks a policy whether to believe in algorithms and packet versions. Here they are rated by our own policy
//! when the verdict is made, so that keys and certificates of every age can be read as they are.

use sequoia_openpgp::cert::amalgamation::key::ValidErasedKeyAmalgamation;
use sequoia_openpgp::packet::key::PublicParts;
use sequoia_openpgp::packet::{Packet, Signature};
use sequoia_openpgp::policy::{HashAlgoSecurity, Policy};
use sequoia_openpgp::types::{AEADAlgorithm, SymmetricAlgorithm};

/// Accepts everything that is mathematically right.
#[derive(Debug, Clone, Copy)]
pub struct EveryAge;

impl Policy for EveryAge {
    fn signature(&self, _: &Signature, _: HashAlgoSecurity) -> sequoia_openpgp::Result<()> {
        Ok(())
    }

    fn key(&self, _: &ValidErasedKeyAmalgamation<PublicParts>) -> sequoia_openpgp::Result<()> {
        Ok(())
    }

    fn symmetric_algorithm(&self, _: SymmetricAlgorithm) -> sequoia_openpgp::Result<()> {
        Ok(())
    }

    fn aead_algorithm(&self, _: AEADAlgorithm) -> sequoia_openpgp::Result<()> {
        Ok(())
    }

    fn packet(&self, _: &Packet) -> sequoia_openpgp::Result<()> {
        Ok(())
    }
}
