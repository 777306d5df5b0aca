//! The folder of one index partition, encrypted: tantivy reads and writes through this, and what reaches
//! the disk is AES-256-GCM in pages (see [`super::pages`]).

use super::pages::{
    HEADER, MAGIC, PAGE, PageWriter, Pages, SealedFile, TAG, damaged, new_file, plaintext_len,
    sealed_len, write_header,
};
use crate::crypto::kdf::{Label, derive};
use crate::durable;
use crate::secret::Key;
use aes_gcm::Aes256Gcm;
use aes_gcm::aead::KeyInit;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    Directory, DirectoryLock, FileHandle, Lock, WatchCallback, WatchHandle, WritePtr,
};

/// The largest file that is read as a whole (lists of segments).
const LARGEST_WHOLE: u64 = 64 << 20;

/// One partition's folder under its key.
#[derive(Clone)]
pub struct EncryptedDirectory(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    partition: String,
    index_key: Key,
}

impl EncryptedDirectory {
    /// Uses `folder`, which exists, under `index_key`. The folder's name is part of the files' keys.
    #[must_use]
    pub fn new(folder: &Path, index_key: &Key) -> Self {
        let partition = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let index_key = index_key.duplicate();
        Self(Arc::new(Inner {
            folder: folder.to_owned(),
            partition,
            index_key,
        }))
    }

    fn place(&self, name: &Path) -> PathBuf {
        self.0.folder.join(name)
    }

    fn pages(&self, name: &Path, salt: &[u8; 32]) -> Pages {
        let name = name.to_string_lossy();
        let context: [&[u8]; 3] = [self.0.partition.as_bytes(), name.as_bytes(), salt];
        let key = derive(&self.0.index_key, Label::IndexFile, &context);
        Pages(Aes256Gcm::new(key.expose().into()))
    }

    fn open_file(&self, name: &Path) -> io::Result<SealedFile> {
        let file = File::open(self.place(name))?;
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0)
            .map_err(|_| damaged("the header is cut"))?;
        let (magic, salt) = header
            .split_first_chunk::<8>()
            .ok_or_else(|| damaged("no header"))?;
        if magic != MAGIC {
            return Err(damaged("not a file of the search index"));
        }
        let salt = salt.try_into().map_err(|_| damaged("the header is cut"))?;
        let length = plaintext_len(file.metadata()?.len()).ok_or_else(|| damaged("cut"))?;
        let pages = self.pages(name, salt);
        let mut end = [0; TAG];
        file.read_exact_at(&mut end, sealed_len(length) - TAG as u64)?;
        pages.check_end(length, &end)?;
        let length = usize::try_from(length).map_err(|_| damaged("too long"))?;
        let last_read = Mutex::new((0, Vec::new()));
        Ok(SealedFile {
            file,
            pages,
            length,
            last_read,
        })
    }
}

impl std::fmt::Debug for EncryptedDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EncryptedDirectory({})", self.0.folder.display())
    }
}

impl Directory for EncryptedDirectory {
    fn get_file_handle(&self, name: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        let file = self
            .open_file(name)
            .map_err(|error| read_error(name, error))?;
        Ok(Arc::new(file))
    }

    fn delete(&self, name: &Path) -> Result<(), DeleteError> {
        fs::remove_file(self.place(name)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => DeleteError::FileDoesNotExist(name.to_owned()),
            _ => DeleteError::IoError {
                io_error: Arc::new(error),
                filepath: name.to_owned(),
            },
        })
    }

    fn exists(&self, name: &Path) -> Result<bool, OpenReadError> {
        self.place(name)
            .try_exists()
            .map_err(|error| read_error(name, error))
    }

    fn open_write(&self, name: &Path) -> Result<WritePtr, OpenWriteError> {
        let create = || -> io::Result<PageWriter> {
            let path = self.place(name);
            let mut file = new_file().create_new(true).open(path)?;
            let salt = write_header(&mut file)?;
            Ok(PageWriter {
                file,
                pages: self.pages(name, &salt),
                page: Vec::new(),
                full: 0,
            })
        };
        let writer = create().map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => OpenWriteError::FileAlreadyExists(name.to_owned()),
            _ => OpenWriteError::wrap_io_error(error, name.to_owned()),
        })?;
        Ok(BufWriter::new(Box::new(writer)))
    }

    fn atomic_read(&self, name: &Path) -> Result<Vec<u8>, OpenReadError> {
        let read = || -> io::Result<Vec<u8>> {
            let file = self.open_file(name)?;
            if file.length as u64 > LARGEST_WHOLE {
                return Err(damaged("longer than any list of segments"));
            }
            file.read(0..file.length)
        };
        read().map_err(|error| read_error(name, error))
    }

    fn atomic_write(&self, name: &Path, content: &[u8]) -> io::Result<()> {
        let mut sealed = Vec::with_capacity(HEADER + content.len() + 2 * TAG);
        let salt = write_header(&mut sealed)?;
        let pages = self.pages(name, &salt);
        for (number, page) in (0u64..).zip(content.chunks(PAGE)) {
            sealed.extend(pages.seal(number, page)?);
        }
        sealed.extend(pages.end(content.len() as u64)?);
        durable::replace(&self.place(name), &sealed).map_err(|error| error.source)
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.0.folder)?.sync_all()
    }

    /// The kernel drops the lock with its holder, so none stays behind after a crash.
    fn acquire_lock(&self, lock: &Lock) -> Result<DirectoryLock, LockError> {
        let path = self.place(&lock.filepath);
        let file = new_file()
            .create(true)
            .open(path)
            .map_err(LockError::wrap_io_error)?;
        if lock.is_blocking {
            file.lock().map_err(LockError::wrap_io_error)?;
        } else {
            file.try_lock().map_err(|error| match error {
                fs::TryLockError::WouldBlock => LockError::LockBusy,
                fs::TryLockError::Error(error) => LockError::wrap_io_error(error),
            })?;
        }
        Ok(DirectoryLock::from(Box::new(file)))
    }

    /// Nobody watches: readers are reloaded after a commit.
    fn watch(&self, _: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}

fn read_error(name: &Path, error: io::Error) -> OpenReadError {
    match error.kind() {
        io::ErrorKind::NotFound => OpenReadError::FileDoesNotExist(name.to_owned()),
        _ => OpenReadError::wrap_io_error(error, name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::pages::SEALED_PAGE;
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use tantivy::directory::TerminatingWrite;

    fn written(content: &[u8]) -> (tempfile::TempDir, EncryptedDirectory) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let directory = EncryptedDirectory::new(folder.path(), &Key::copy_from(&[3; 32]));
        let mut file = directory.open_write(Path::new("file")).expect("create");
        file.write_all(content).expect("write");
        file.terminate().expect("finish");
        (folder, directory)
    }

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n % 251) as u8).collect()
    }

    #[test]
    fn lengths_around_the_page_read_back() {
        for length in [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, 3 * PAGE + 5] {
            let (folder, directory) = written(&bytes(length));
            let file = directory.open_read(Path::new("file")).expect("open");
            assert_eq!(file.read_bytes().expect("read").as_slice(), bytes(length));
            let size = fs::metadata(folder.path().join("file"))
                .expect("size")
                .len();
            assert_eq!(
                (size, plaintext_len(size)),
                (sealed_len(length as u64), Some(length as u64))
            );
            directory
                .atomic_write(Path::new("whole"), &bytes(length))
                .expect("write");
            assert_eq!(
                directory.atomic_read(Path::new("whole")).expect("read"),
                bytes(length)
            );
        }
    }

    proptest! {
        #[test]
        fn any_range_reads_as_from_the_plaintext(a in 0..2 * PAGE + 100, b in 0..2 * PAGE + 100) {
            let content = bytes(2 * PAGE + 100);
            let (_folder, directory) = written(&content);
            let file = directory.open_read(Path::new("file")).expect("open");
            let range = a.min(b)..a.max(b);
            let read = file.slice(range.clone()).read_bytes().expect("read");
            prop_assert_eq!(read.as_slice(), &content[range]);
        }
    }

    #[test]
    fn a_cut_altered_or_exchanged_file_is_refused() {
        let (folder, directory) = written(&bytes(PAGE + 50));
        let path = folder.path().join("file");
        let whole = fs::read(&path).expect("read");
        let readable = || directory.atomic_read(Path::new("file")).is_ok();
        for cut in [
            0,
            8,
            HEADER,
            HEADER + TAG,
            HEADER + SEALED_PAGE,
            whole.len() - TAG,
            whole.len() - 1,
        ] {
            fs::write(&path, &whole[..cut]).expect("write");
            assert!(!readable(), "cut at {cut}");
        }
        for at in [
            0,
            9,
            HEADER,
            HEADER + PAGE + 3,
            whole.len() - TAG - 1,
            whole.len() - 1,
        ] {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            fs::write(&path, &altered).expect("write");
            assert!(!readable(), "altered at {at}");
        }
        fs::write(&path, &whole).expect("write");
        assert!(readable());
        fs::rename(&path, folder.path().join("other")).expect("rename");
        assert!(
            directory.atomic_read(Path::new("other")).is_err(),
            "the name is bound"
        );
    }

    #[test]
    fn a_lock_is_held_once_and_gone_with_its_holder() {
        let (_folder, directory) = written(b"");
        let lock = Lock {
            filepath: "lock".into(),
            is_blocking: false,
        };
        let held = directory.acquire_lock(&lock).expect("lock");
        assert!(matches!(
            directory.acquire_lock(&lock),
            Err(LockError::LockBusy)
        ));
        drop(held);
        assert!(directory.acquire_lock(&lock).is_ok());
    }
}
