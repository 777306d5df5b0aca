//! S/MIME.
use super::context::{Context, Failure, Unopened, Unwrapped};
/// Opens.
pub fn open(
    _ci: &[u8],
    _detached: Option<&[u8]>,
    _ctx: &Context<'_>,
) -> Result<Unwrapped, Unopened> {
    Err(Unopened {
        failure: Failure::Refused("no".into()),
        layers: vec![],
        signatures: vec![],
    })
}
/// PEM, base64 or DER.
#[must_use]
pub fn decode_container(_bytes: &[u8]) -> Option<Vec<u8>> {
    None
}
