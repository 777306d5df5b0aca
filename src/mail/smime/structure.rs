//! The structures of RFC 5652, RFC 5083 and RFC 3274, read straight from BER and left where they are
//! in the message. Lenient where senders err (versions, order in SETs), strict where it matters.

use super::algorithm::Algorithm;
use super::ber::{BerError, Chunks, Element, Reader, tag};
use const_oid::ObjectIdentifier;

/// `ContentInfo`.
#[derive(Debug, Clone, Copy)]
pub struct ContentInfo<'a> {
    /// What the content is.
    pub content_type: ObjectIdentifier,
    /// The content, without its explicit tag; `None` if absent (old detached forms).
    pub content: Option<Element<'a>>,
}

impl<'a> ContentInfo<'a> {
    /// Reads a `ContentInfo`; what follows it (padding, line ends) is ignored.
    pub fn read(bytes: &'a [u8]) -> Result<Self, BerError> {
        let (element, _) = Element::split(bytes)?;
        let mut inside = element.inside_of(tag::SEQUENCE, "a ContentInfo")?;
        let content_type = inside.value("a content type")?.oid()?;
        let content = match inside.optional(tag::context(0))? {
            Some(explicit) => Some(explicit.inside().value("content")?),
            None => None,
        };
        Ok(Self {
            content_type,
            content,
        })
    }
}

/// `EncryptedContentInfo`.
#[derive(Debug, Clone)]
pub struct EncryptedContent<'a> {
    /// Type of the plaintext.
    pub content_type: ObjectIdentifier,
    /// Content cipher.
    pub cipher: Algorithm<'a>,
    /// The ciphertext; `None` if it is not in the message.
    pub ciphertext: Option<Chunks<'a>>,
}

impl<'a> EncryptedContent<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, BerError> {
        let element = reader.expect(tag::SEQUENCE, "an EncryptedContentInfo")?;
        let mut inside = element.inside();
        let content_type = inside.value("a content type")?.oid()?;
        let cipher = Algorithm::read(&mut inside)?;
        // [0] IMPLICIT OCTET STRING; some writers leave out the tag or make it explicit, which reads the same.
        let ciphertext = match inside.peek() & !tag::CONSTRUCTED {
            0x80 | tag::OCTET_STRING => Some(inside.value("ciphertext")?.chunks()),
            _ => None,
        };
        Ok(Self {
            content_type,
            cipher,
            ciphertext,
        })
    }
}

/// `EnvelopedData`, `AuthEnvelopedData`, and PKCS#7's `SignedAndEnvelopedData` without its signatures.
#[derive(Debug, Clone)]
pub struct Enveloped<'a> {
    /// Certificates that `originatorInfo` carries.
    pub originator_certificates: Option<Element<'a>>,
    /// The `RecipientInfo`s, unparsed.
    pub recipients: Reader<'a>,
    /// Cipher and ciphertext.
    pub encrypted: EncryptedContent<'a>,
    /// AuthEnvelopedData: the authenticated attributes, as they are tagged in the message.
    pub auth_attributes: Option<Element<'a>>,
    /// AuthEnvelopedData: the tag of the content cipher.
    pub mac: Option<Vec<u8>>,
}

impl<'a> Enveloped<'a> {
    /// Reads `content` of the type `kind`.
    pub fn read(kind: &ObjectIdentifier, content: Element<'a>) -> Result<Self, BerError> {
        let mut inside = content.inside_of(tag::SEQUENCE, "EnvelopedData")?;
        inside.expect(tag::INTEGER, "a version")?;
        let originator = inside.optional(tag::context(0))?;
        let originator_certificates = match originator {
            Some(info) => info.inside().optional(tag::context(0))?,
            None => None,
        };
        let recipients = inside.expect(tag::SET, "recipients")?.inside();
        if *kind == super::oids::SIGNED_AND_ENVELOPED_DATA {
            inside.expect(tag::SET, "digest algorithms")?;
        }
        let encrypted = EncryptedContent::read(&mut inside)?;
        let (auth_attributes, mac) = if *kind == super::oids::AUTH_ENVELOPED_DATA {
            let attributes = inside.optional(tag::context(1))?;
            let mac = inside
                .value("the authentication tag")?
                .octet_string()?
                .into_owned();
            (attributes, Some(mac))
        } else {
            (None, None)
        };
        Ok(Self {
            originator_certificates,
            recipients,
            encrypted,
            auth_attributes,
            mac,
        })
    }
}

/// Reads `EncryptedData`.
pub fn encrypted_data(content: Element<'_>) -> Result<EncryptedContent<'_>, BerError> {
    let mut inside = content.inside_of(tag::SEQUENCE, "EncryptedData")?;
    inside.expect(tag::INTEGER, "a version")?;
    EncryptedContent::read(&mut inside)
}

/// `EncapsulatedContentInfo`.
#[derive(Debug, Clone, Copy)]
pub struct Encapsulated<'a> {
    /// Type of the content.
    pub content_type: ObjectIdentifier,
    /// The content, usually an OCTET STRING; PKCS#7 allowed any type. `None` if detached.
    pub content: Option<Element<'a>>,
}

impl<'a> Encapsulated<'a> {
    /// Reads the next value.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, BerError> {
        let element = reader.expect(tag::SEQUENCE, "an EncapsulatedContentInfo")?;
        let mut inside = element.inside();
        let content_type = inside.value("a content type")?.oid()?;
        let content = match inside.optional(tag::context(0))? {
            Some(explicit) => explicit.inside().next().transpose()?,
            None => None,
        };
        Ok(Self {
            content_type,
            content,
        })
    }

    /// The content octets: of an OCTET STRING its octets, of another type its contents octets (RFC 5652 §5.2.1).
    #[must_use]
    pub fn octets(&self) -> Option<Chunks<'a>> {
        self.content
            .map(|content| match content.tag & !tag::CONSTRUCTED {
                tag::OCTET_STRING => content.chunks(),
                _ => Chunks::whole(content.body),
            })
    }

    /// What a reader gets: the octets of an OCTET STRING, or the whole other value.
    #[must_use]
    pub fn readable(&self) -> Option<Chunks<'a>> {
        self.content
            .map(|content| match content.tag & !tag::CONSTRUCTED {
                tag::OCTET_STRING => content.chunks(),
                _ => Chunks::whole(content.raw),
            })
    }
}

/// `SignedData`.
#[derive(Debug, Clone)]
pub struct SignedData<'a> {
    /// What is signed.
    pub encapsulated: Encapsulated<'a>,
    /// `CertificateSet`, as tagged in the message.
    pub certificates: Option<Element<'a>>,
    /// `RevocationInfoChoices`, as tagged in the message.
    pub revocation: Option<Element<'a>>,
    /// The `SignerInfo`s, unparsed.
    pub signers: Reader<'a>,
}

impl<'a> SignedData<'a> {
    /// Reads `content`.
    pub fn read(content: Element<'a>) -> Result<Self, BerError> {
        let mut inside = content.inside_of(tag::SEQUENCE, "SignedData")?;
        inside.expect(tag::INTEGER, "a version")?;
        inside.expect(tag::SET, "digest algorithms")?;
        let encapsulated = Encapsulated::read(&mut inside)?;
        let certificates = inside.optional(tag::context(0))?;
        let revocation = inside.optional(tag::context(1))?;
        let signers = match inside.optional(tag::SET)? {
            Some(signers) => signers.inside(),
            None => Reader::new(&[]),
        };
        Ok(Self {
            encapsulated,
            certificates,
            revocation,
            signers,
        })
    }
}

/// How a signer or recipient is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identifier<'a> {
    /// `IssuerAndSerialNumber`.
    IssuerSerial {
        /// The issuer's Name.
        issuer: Element<'a>,
        /// The serial number.
        serial: Element<'a>,
    },
    /// Subject key identifier.
    KeyId(Vec<u8>),
}

impl<'a> Identifier<'a> {
    /// Reads the next value: `IssuerAndSerialNumber`, or `[0]` subject key identifier, or `[0]`
    /// `RecipientKeyIdentifier`.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, BerError> {
        let element = reader.value("a signer or recipient identifier")?;
        match element.tag {
            tag::SEQUENCE => {
                let mut inside = element.inside();
                let issuer = inside.expect(tag::SEQUENCE, "an issuer")?;
                let serial = inside.expect(tag::INTEGER, "a serial number")?;
                Ok(Self::IssuerSerial { issuer, serial })
            }
            0x80 => Ok(Self::KeyId(element.body.to_vec())),
            0xa0 => {
                let id = element.inside().value("a key identifier")?;
                Ok(Self::KeyId(id.octet_string()?.into_owned()))
            }
            _ => Err(element.unexpected("a signer or recipient identifier")),
        }
    }
}

/// `SignerInfo`.
#[derive(Debug, Clone)]
pub struct SignerInfo<'a> {
    /// Who.
    pub sid: Identifier<'a>,
    /// Digest over the content.
    pub digest: Algorithm<'a>,
    /// Signed attributes, as tagged in the message (`[0] IMPLICIT`).
    pub signed_attributes: Option<Element<'a>>,
    /// Signature algorithm.
    pub algorithm: Algorithm<'a>,
    /// The signature.
    pub signature: Vec<u8>,
    /// Unsigned attributes.
    pub unsigned_attributes: Option<Element<'a>>,
}

impl<'a> SignerInfo<'a> {
    /// Takes `element` as a `SignerInfo`.
    pub fn of(element: Element<'a>) -> Result<Self, BerError> {
        let mut inside = element.inside_of(tag::SEQUENCE, "a SignerInfo")?;
        inside.expect(tag::INTEGER, "a version")?;
        let sid = Identifier::read(&mut inside)?;
        let digest = Algorithm::read(&mut inside)?;
        let signed_attributes = inside.optional(tag::context(0))?;
        let algorithm = Algorithm::read(&mut inside)?;
        let signature = inside.value("a signature")?.octet_string()?.into_owned();
        let unsigned_attributes = inside.optional(tag::context(1))?;
        Ok(Self {
            sid,
            digest,
            signed_attributes,
            algorithm,
            signature,
            unsigned_attributes,
        })
    }
}

/// All values of the attribute `wanted` in a SET OF Attribute, of all its occurrences.
pub fn attribute_values<'a>(
    attributes: &Element<'a>,
    wanted: &ObjectIdentifier,
) -> Result<Vec<Element<'a>>, BerError> {
    let mut found = Vec::new();
    for attribute in attributes.inside() {
        let mut inside = attribute?.inside_of(tag::SEQUENCE, "an attribute")?;
        let kind = inside.expect(tag::OID, "an attribute type")?;
        if kind.body == wanted.as_bytes() {
            let values = inside.expect(tag::SET, "attribute values")?;
            for value in values.inside() {
                found.push(value?);
            }
        }
    }
    Ok(found)
}
