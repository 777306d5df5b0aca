//! Objects that live outside the TPM, encrypted so that only their parent key opens them.

use super::TpmError;
use super::device::Device;
use super::error::{code_of, explain};
use serde::{Deserialize, Serialize};
use tss_esapi::handles::KeyHandle;
use tss_esapi::structures::{Private, Public};
use tss_esapi::traits::{Marshall, UnMarshall};

/// A TPM object under the storage root key. Safe to lie on a disk: the private part is encrypted and
/// authenticated by the TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectBlob {
    /// TPMT_PUBLIC (TPM 2.0 Library, Part 2, 12.2.4), base64 in JSON.
    #[serde(with = "base64")]
    public: Vec<u8>,
    /// The content of TPM2B_PRIVATE (Part 2, 12.3.7), base64 in JSON.
    #[serde(with = "base64")]
    private: Vec<u8>,
}

impl ObjectBlob {
    pub(super) fn new(
        doing: &'static str,
        public: &Public,
        private: &Private,
    ) -> Result<Self, TpmError> {
        let public = public
            .marshall()
            .map_err(|error| explain(doing, code_of(error)))?;
        Ok(Self {
            public,
            private: private.value().to_vec(),
        })
    }

    /// What names the object, for a look-up.
    pub(super) fn private(&self) -> &[u8] {
        &self.private
    }

    /// The public area, which a file may have altered.
    pub(super) fn public(&self, what: &'static str) -> Result<Public, TpmError> {
        let bad = |_| TpmError::BadBlob { what, code: 0 };
        // TPMT_PUBLIC of our objects has at most 120 bytes; 512 bounds the parser.
        if self.public.len() > 512 {
            return Err(TpmError::BadBlob { what, code: 0 });
        }
        Public::unmarshall(&self.public).map_err(bad)
    }
}

impl Device {
    /// Loads an object under the storage root key. What the TPM does not take is a damaged blob.
    pub(super) fn load(
        &mut self,
        what: &'static str,
        blob: &ObjectBlob,
    ) -> Result<KeyHandle, TpmError> {
        let srk = self.srk()?;
        let public = blob.public(what)?;
        let private =
            Private::try_from(blob.private()).map_err(|_| TpmError::BadBlob { what, code: 0 })?;
        self.guarded_coded(|context| context.load(srk, private, public))?
            .map_err(|code| match explain(what, code) {
                TpmError::Refused { code, .. } => TpmError::BadBlob { what, code },
                other => other,
            })
    }
}

mod base64 {
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        BASE64
            .decode(String::deserialize(from)?.as_bytes())
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_public_area_is_read_or_refused(public in proptest::collection::vec(any::<u8>(), 0..600)) {
            let blob = ObjectBlob { public: public.clone(), private: Vec::new() };
            if let Ok(read) = blob.public("blob") {
                let written = read.marshall().expect("what was read can be written");
                prop_assert!(public.starts_with(&written));
            }
        }

        #[test]
        fn the_text_form_gives_the_same_blob(
            public in proptest::collection::vec(any::<u8>(), 0..200),
            private in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let blob = ObjectBlob { public, private };
            let json = serde_json::to_string(&blob).expect("json");
            prop_assert_eq!(serde_json::from_str::<ObjectBlob>(&json).expect("the same"), blob);
        }
    }
}
