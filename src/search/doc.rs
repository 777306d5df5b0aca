//! What is indexed of a mail, and the index's fields.

use super::words::{MailTokenizer, fold};
use crate::id::{RecordId, TenantId};
use crate::time::Timestamp;
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, Schema, TantivyDocument, TextFieldIndexing,
    TextOptions,
};
use tantivy::{Index, Term};

/// Bytes of one text that are indexed; what lies beyond is not found.
const LONGEST_TEXT: usize = 8 << 20;
/// The name under which the index knows [`MailTokenizer`].
const TOKENIZER: &str = "mail";

/// A display name and an address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Party {
    /// Decoded display name, or empty.
    pub name: String,
    /// `local@domain`.
    pub address: String,
}

/// How a mail was encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// S/MIME.
    Smime,
    /// OpenPGP.
    OpenPgp,
}

impl Encryption {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Smime, Self::OpenPgp];

    /// The term of the field `mark`.
    #[must_use]
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Smime => "encrypted smime",
            Self::OpenPgp => "encrypted openpgp",
        }
    }
}

/// How a signature was judged at arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Good, by a trusted signer.
    Valid,
    /// Good, with a reservation.
    ValidBut,
    /// Nobody vouches for the signer.
    UnknownSigner,
    /// Bad.
    Invalid,
}

impl Judgement {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Valid,
        Self::ValidBut,
        Self::UnknownSigner,
        Self::Invalid,
    ];

    /// The term of the field `mark`.
    #[must_use]
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Valid => "signed valid",
            Self::ValidBut => "signed valid-but",
            Self::UnknownSigner => "signed unknown-signer",
            Self::Invalid => "signed invalid",
        }
    }
}

/// The term of the field `mark` for mail with attachments.
pub const ATTACHMENT_MARK: &str = "attachment";

/// One record as it is indexed. Recipients known from the envelope alone belong into `owners`, not into
/// `to`: who may read a mail may search its `to`, but must not learn of blind copies.
#[derive(Debug, Clone)]
pub struct SearchDoc {
    /// The record's tenant.
    pub tenant: TenantId,
    /// The record.
    pub record: RecordId,
    /// Its *first* arrival, which decides its partition and never changes.
    pub arrived: Timestamp,
    /// The mail's own date, or that of its first arrival.
    pub date: Timestamp,
    /// Mailboxes of all arrivals, lower case: who may find it.
    pub owners: Vec<String>,
    /// Authors.
    pub from: Vec<Party>,
    /// Recipients named in the header.
    pub to: Vec<Party>,
    /// The decoded subject.
    pub subject: String,
    /// Text of body and attachments.
    pub body: String,
    /// Names of attachments.
    pub attachments: Vec<String>,
    /// Whether there are attachments, with or without a name.
    pub has_attachment: bool,
    /// Empty where the mail is not encrypted.
    pub encrypted: Vec<Encryption>,
    /// One for each signature.
    pub signed: Vec<Judgement>,
    /// `Message-ID` without angle brackets.
    pub message_id: Option<String>,
}

impl SearchDoc {
    /// Bytes of text, roughly what indexing it takes of memory.
    #[must_use]
    pub fn size(&self) -> usize {
        let parties = self
            .from
            .iter()
            .chain(&self.to)
            .map(|party| party.name.len() + party.address.len());
        let names = self.owners.iter().chain(&self.attachments).map(String::len);
        512 + self.subject.len() + self.body.len() + parties.sum::<usize>() + names.sum::<usize>()
    }
}

/// The fields, by their names on disk.
#[derive(Debug, Clone, Copy)]
pub struct Fields {
    /// Record id, 16 bytes.
    pub record: Field,
    /// First half of the record id, as a number to read fast.
    pub record_high: Field,
    /// Second half.
    pub record_low: Field,
    /// Tenant, exact.
    pub tenant: Field,
    /// Mailboxes that may find it, exact.
    pub owner: Field,
    /// Milliseconds since 1970.
    pub date: Field,
    /// Words of authors' names and addresses.
    pub from: Field,
    /// Words of recipients' names and addresses.
    pub to: Field,
    /// Authors' addresses, exact.
    pub from_address: Field,
    /// Recipients' addresses, exact.
    pub to_address: Field,
    /// Words of the subject.
    pub subject: Field,
    /// Words of the body.
    pub body: Field,
    /// Words of attachments' names.
    pub attachment: Field,
    /// `Message-ID`, exact.
    pub message_id: Field,
    /// What `has:`, `encrypted:` and `signed:` ask for, exact.
    pub mark: Field,
}

/// The schema of every partition. Nothing is stored but what is searched.
#[must_use]
pub fn schema() -> (Schema, Fields) {
    let mut builder = Schema::builder();
    let exact = || indexing("raw", IndexRecordOption::Basic);
    let words = || indexing(TOKENIZER, IndexRecordOption::WithFreqsAndPositions);
    let fields = Fields {
        record: builder.add_bytes_field("record", INDEXED),
        record_high: builder.add_u64_field("record_high", FAST),
        record_low: builder.add_u64_field("record_low", FAST),
        tenant: builder.add_text_field("tenant", exact()),
        owner: builder.add_text_field("owner", exact()),
        date: builder.add_u64_field("date", FAST),
        from: builder.add_text_field("from", words()),
        to: builder.add_text_field("to", words()),
        from_address: builder.add_text_field("from_address", exact()),
        to_address: builder.add_text_field("to_address", exact()),
        subject: builder.add_text_field("subject", words()),
        body: builder.add_text_field("body", words()),
        attachment: builder.add_text_field("attachment", words()),
        message_id: builder.add_text_field("message_id", exact()),
        mark: builder.add_text_field("mark", exact()),
    };
    (builder.build(), fields)
}

fn indexing(tokenizer: &str, what: IndexRecordOption) -> TextOptions {
    let indexing = TextFieldIndexing::default()
        .set_tokenizer(tokenizer)
        .set_index_option(what)
        .set_fieldnorms(false);
    TextOptions::default().set_indexing_options(indexing)
}

/// Makes the tokenizer known to an index that was opened or created.
pub fn register_tokenizer(index: &Index) {
    index
        .tokenizers()
        .register(TOKENIZER, MailTokenizer::default());
}

impl Fields {
    /// The term by which a record is removed.
    #[must_use]
    pub fn record_term(&self, record: &RecordId) -> Term {
        Term::from_field_bytes(self.record, record.as_bytes())
    }

    /// `doc` for tantivy.
    #[must_use]
    pub fn document(&self, doc: &SearchDoc) -> TantivyDocument {
        let mut out = TantivyDocument::default();
        let id = u128::from_be_bytes(*doc.record.as_bytes());
        out.add_bytes(self.record, doc.record.as_bytes());
        out.add_u64(self.record_high, (id >> 64) as u64);
        out.add_u64(self.record_low, id as u64);
        out.add_u64(self.date, doc.date.0);
        out.add_text(self.tenant, doc.tenant.as_str());
        for owner in &doc.owners {
            out.add_text(self.owner, owner_term(owner));
        }
        add_parties(&mut out, self.from, self.from_address, &doc.from);
        add_parties(&mut out, self.to, self.to_address, &doc.to);
        out.add_text(self.subject, cut(&doc.subject));
        out.add_text(self.body, cut(&doc.body));
        for name in &doc.attachments {
            out.add_text(self.attachment, cut(name));
        }
        if let Some(id) = &doc.message_id {
            out.add_text(self.message_id, fold(id));
        }
        let attachment = doc.has_attachment.then_some(ATTACHMENT_MARK);
        let encrypted = doc.encrypted.iter().map(|encryption| encryption.mark());
        let signed = doc.signed.iter().map(|judgement| judgement.mark());
        for mark in attachment.into_iter().chain(encrypted).chain(signed) {
            out.add_text(self.mark, mark);
        }
        out
    }
}

/// The exact form in which a mailbox is compared.
#[must_use]
pub fn owner_term(mailbox: &str) -> String {
    mailbox.to_lowercase()
}

fn add_parties(out: &mut TantivyDocument, words: Field, address: Field, parties: &[Party]) {
    for party in parties {
        if !party.name.is_empty() {
            out.add_text(words, cut(&party.name));
        }
        out.add_text(words, cut(&party.address));
        out.add_text(address, fold(&party.address));
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}
