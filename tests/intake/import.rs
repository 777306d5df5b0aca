//! Importing files: what is found, exactly once, exactly as it was.

use crate::server::Server;
use std::collections::HashSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use strongroom::id::Digest;
use strongroom::intake::envelope::Source;
use strongroom::intake::import::client::{Destination, Progress, send};
use strongroom::intake::import::sources::{Found, files, mails_of};

const LINE: &str = "From ann  Tue Apr  1 09:28:56 1997\n";

fn some_mail(folder: &Path) {
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("folder")).expect("folder");
        fs::write(path, text).expect("write");
    };
    put("one.eml", "A: 1\r\n\r\nCRLF text\r\n");
    put(
        "box.mbox",
        &format!("{LINE}A: 2\n\n>From x\n\n{LINE}A: 3\n\ny\n"),
    );
    put("maildir/cur/1.host:2,S", "A: 4\n\nread\n");
    put("maildir/new/2.host", "A: 5\n\nnew\n");
    put("maildir/tmp/3.host", "A: 6\n\nhalf\n");
    put("maildir/dovecot-uidlist", "3 V1 N2\n");
    put("maildir/.Sent/cur/4.host:2,", "A: 7\n\nsent\n");
    fs::create_dir_all(folder.join("maildir/.Sent/new")).expect("folder");
    put("notes.pdf", "%PDF-1.4\n");
}

async fn import(
    socket: PathBuf,
    paths: Vec<PathBuf>,
    known: HashSet<Digest>,
) -> (Vec<Digest>, Vec<Progress>) {
    import_for(None, socket, paths, known).await
}

async fn import_for(
    tenant: Option<&'static str>,
    socket: PathBuf,
    paths: Vec<PathBuf>,
    known: HashSet<Digest>,
) -> (Vec<Digest>, Vec<Progress>) {
    let work = move || {
        let destination = Destination {
            tenant: tenant.map(|name| name.parse().expect("tenant")),
            mailbox: "ann@example.org".into(),
        };
        let mails = files(&paths)
            .expect("list")
            .files
            .into_iter()
            .flat_map(|(path, _)| mails_of(&path));
        let (mut queued, mut others) = (Vec::new(), Vec::new());
        let report = |progress: Progress| {
            match progress {
                Progress::Queued { identity, .. } => queued.push(identity),
                other => others.push(other),
            }
            Ok(())
        };
        send(&socket, &destination, mails, &known, report).expect("imported");
        (queued, others)
    };
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn files_mailboxes_and_maildirs_come_in_exactly_once() {
    // C7, C2
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    some_mail(folder.path());
    let paths = vec![folder.path().to_owned()];
    let (queued, others) =
        import(server.socket("import.sock"), paths.clone(), HashSet::new()).await;
    assert_eq!(queued.len(), 6);
    assert!(
        matches!(&others[..], [Progress::Unreadable(error)] if error.to_string().contains("notes.pdf"))
    );
    let (again, known) = import(
        server.socket("import.sock"),
        paths,
        queued.into_iter().collect(),
    )
    .await;
    assert!(again.is_empty() && known.len() == 7);
    let found = server.stop().await;
    let mut texts: Vec<_> = found
        .mails
        .iter()
        .map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned())
        .collect();
    texts.sort();
    let mut expected = [
        "A: 1\r\n\r\nCRLF text\r\n",
        "A: 2\n\n>From x\n",
        "A: 3\n\ny\n",
        "A: 4\n\nread\n",
        "A: 5\n\nnew\n",
        "A: 7\n\nsent\n",
    ];
    expected.sort_unstable();
    assert_eq!(texts, expected);
    assert!(
        found
            .envelopes
            .iter()
            .all(|envelope| matches!(envelope.source, Source::Import { .. }))
    );
    assert!(
        found
            .envelopes
            .iter()
            .all(|envelope| envelope.recipients[0].address == "ann@example.org")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_of_many_frames_is_imported_whole() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("long.eml");
    let text = [b"A: 1\r\n\r\n".to_vec(), crate::support::text(7_000_000, 3)].concat();
    fs::write(&path, &text).expect("write");
    import(server.socket("import.sock"), vec![path], HashSet::new()).await;
    assert!(
        server
            .stop()
            .await
            .mails
            .iter()
            .any(|(_, bytes)| *bytes == text)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_socket_hurts_nobody() {
    let server = Server::start().await;
    let socket = server.socket("import.sock");
    tokio::task::spawn_blocking(move || {
        use std::io::Write as _;
        for garbage in [&[0xff; 40][..], &[0, 0, 0, 3, 1, 2, 3], &[0, 0, 0, 200]] {
            let mut stream = std::os::unix::net::UnixStream::connect(&socket).expect("connect");
            let _ = stream.write_all(garbage);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert!(answer.is_empty());
        }
    })
    .await
    .expect("no panic");
    assert!(server.stop().await.mails.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_was_read_and_marked_is_not_imported_again() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    some_mail(folder.path());
    let paths = vec![folder.path().join("maildir")];
    let socket = || server.socket("import.sock");
    let (queued, _) = import(socket(), paths.clone(), HashSet::new()).await;
    assert_eq!(queued.len(), 3);
    let rename = |from: &str, to: &str| {
        let maildir = folder.path().join("maildir");
        fs::rename(maildir.join(from), maildir.join(to)).expect("renamed");
    };
    rename("cur/1.host:2,S", "cur/1.host:2,RS");
    rename("new/2.host", "cur/2.host;2,F"); // as on a file system without colons
    let (again, known) = import(socket(), paths, queued.into_iter().collect()).await;
    assert!(again.is_empty() && known.len() == 3);
    assert_eq!(server.stop().await.mails.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_for_a_tenant_that_does_not_exist_is_refused() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    some_mail(folder.path());
    let paths = vec![folder.path().join("one.eml")];
    for (tenant, taken) in [("mian", 0), ("main", 1)] {
        let socket = server.socket("import.sock");
        let (queued, _) = import_for(Some(tenant), socket, paths.clone(), HashSet::new()).await;
        assert_eq!(queued.len(), taken, "{tenant}");
    }
    assert_eq!(server.stop().await.mails.len(), 1);
}

// A client that was killed has not noted its last answers: what it then offers again is not taken again.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_forgot_its_last_answers_brings_nothing_in_twice() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    some_mail(folder.path());
    let paths = vec![
        folder.path().join("maildir"),
        folder.path().join("box.mbox"),
    ];
    let socket = || server.socket("import.sock");
    let (first, _) = import(socket(), paths.clone(), HashSet::new()).await;
    let noted = first[..2].iter().copied().collect();
    let (second, known) = import(socket(), paths.clone(), noted).await;
    assert_eq!((second.as_slice(), known.len()), (&first[2..], 2));
    assert_eq!(server.stop().await.mails.len(), first.len());
}

// The same mail may be in two people's mailboxes; what is remembered of one says nothing of the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_went_to_one_mailbox_still_goes_to_another() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().expect("folder");
    some_mail(folder.path());
    let paths = vec![folder.path().join("one.eml")];
    let socket = || server.socket("import.sock");
    let first = import_for(Some("main"), socket(), paths.clone(), HashSet::new()).await;
    let mut known: HashSet<_> = first.0.into_iter().collect();
    for expected in [1, 0] {
        let (queued, _) = import_for(Some("acme"), socket(), paths.clone(), known.clone()).await;
        assert_eq!(queued.len(), expected);
        known.extend(queued);
    }
    let former = |path: &PathBuf| mails_of(path).map(|mail| mail.expect("a mail").identity);
    let former = paths.iter().flat_map(former).collect();
    let (again, _) = import_for(Some("main"), socket(), paths.clone(), former).await;
    assert!(again.is_empty(), "earlier versions remembered no mailbox");
    assert_eq!(server.stop().await.mails.len(), 2);
}

// Mail programs keep indexes and empty mailboxes beside mails: nobody misses mail there. Everything else is named.
#[test]
fn what_mail_programs_keep_beside_mails_is_left_out() {
    let folder = tempfile::tempdir().expect("folder");
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("folder")).expect("folder");
        fs::write(path, text).expect("write");
    };
    put("mh/1", "A: 1\n\nx\n");
    put("mh/.mh_sequences", "cur: 1\nunseen: 1\n");
    put("profile/Inbox", &format!("{LINE}A: 2\n\nx\n"));
    put("profile/Inbox.msf", "// <!-- <mdb:mork:z v=\"1.4\"/> -->\n");
    put("profile/Drafts", "");
    put("maildir/cur/3.host:2,", "A: 3\n\nx\n");
    put("maildir/cur/4.host:2,", "");
    put("maildir/tmp/5.host", "A: 5\n\nhal");
    put("maildir/dovecot-uidlist", "3 V1 N4\n");
    let apple = "6       \nA: 6\n\n<?xml version=\"1.0\"?>\n";
    put("apple/6.partial.emlx", apple);
    put("apple/7.eml", "");
    let (mut texts, mut refused) = (Vec::new(), Vec::new());
    let found = files(&[folder.path().to_owned()]).expect("list");
    assert!(found.unreadable.is_empty(), "{:?}", found.unreadable);
    for mail in found.files.iter().flat_map(|(path, _)| mails_of(path)) {
        match mail {
            Ok(mut mail) => {
                let mut text = String::new();
                mail.bytes.read_to_string(&mut text).expect("text");
                texts.push(text);
            }
            Err(error) => refused.push(error.to_string()),
        }
    }
    assert_eq!(
        texts,
        ["A: 6\n\n", "A: 3\n\nx\n", "A: 1\n\nx\n", "A: 2\n\nx\n"]
    );
    let said = [
        "the attachments of ",
        "7.eml is no mail",
        "4.host:2, is no mail",
    ];
    assert_eq!(refused.len(), said.len(), "{refused:?}");
    for (refused, said) in refused.iter().zip(said) {
        assert!(refused.contains(said), "{refused}");
    }
}

// A mailbox file that mail is delivered to meanwhile: what was there is taken, half a mail is not.
#[test]
fn mail_that_another_program_adds_is_left_for_the_next_time() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("inbox");
    let mail = |number: usize| format!("{LINE}A: {number}\n\nx\n\n");
    let before = mail(1) + &mail(2);
    fs::write(&path, &before).expect("write");
    let mut mails = mails_of(&path);
    assert!(mails.next().expect("a mail").is_ok());
    fs::write(&path, before.clone() + &mail(3) + LINE + "A: 4").expect("write");
    let rest: Vec<_> = mails.collect();
    let said = rest.last().and_then(|last| last.as_ref().err());
    assert!(said.is_some_and(|error| error.to_string().starts_with("the rest of ")));
    assert_eq!(rest.len(), 2);
    let mut mails = mails_of(&path);
    assert!(mails.next().expect("a mail").is_ok());
    fs::write(&path, mail(2)).expect("write");
    assert!(mails.next().expect("an error").is_err() && mails.next().is_none());
}

// A folder that cannot be listed keeps nothing else from being imported.
#[test]
fn what_cannot_be_listed_is_named_and_the_rest_is_found() {
    let folder = tempfile::tempdir().expect("folder");
    fs::write(folder.path().join("z.eml"), "A: 1\n\nx\n").expect("write");
    // Deeper than any path may name.
    let half = |name: &str| {
        folder
            .path()
            .join(name)
            .join(vec!["d".repeat(200); 15].join("/"))
    };
    for name in ["upper", "lower"] {
        fs::create_dir_all(half(name)).expect("folders");
    }
    fs::rename(folder.path().join("lower"), half("upper").join("lower")).expect("moved");
    let found = files(&[folder.path().to_owned()]).expect("the rest");
    assert_eq!(found.files.len(), 1);
    assert_eq!(found.unreadable.len(), 1);
    assert!(found.unreadable[0].to_string().starts_with("cannot "));
}

#[test]
fn links_are_named_and_odd_beginnings_accepted() {
    let folder = tempfile::tempdir().expect("folder");
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("write");
    put("blank.mbox", &format!("\n{LINE}A: 1\n\nx\n"));
    put("bom.eml", "\u{feff}A: 2\n\nx\n");
    put("old.eml", "Subject : 3\n\nx\n");
    put(
        "undated.mbox",
        "From a@b\nA: 4\n\nx\n\nFrom c@d\nA: 5\n\ny\n",
    );
    let unquoted = format!("x\n\n{LINE}Subject: inner\n\ny\n");
    let length = unquoted.len();
    put(
        "told.mbox",
        &format!("{LINE}Content-Length: {length}\n\n{unquoted}\n{LINE}A: 6\n\nz\n"),
    );
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("blank.mbox", &link).expect("a link");
    let found = files(&[folder.path().to_owned()]).expect("list");
    assert_eq!(
        found.skipped,
        [fs::canonicalize(folder.path()).expect("path").join("link")]
    );
    let mails = found.files.iter().flat_map(|(path, _)| mails_of(path));
    let mut starts = Vec::new();
    for mail in mails {
        let mut text = String::new();
        let mut mail = mail.expect("a mail");
        mail.bytes.read_to_string(&mut text).expect("text");
        assert_eq!(text.len() as u64, mail.length);
        starts.push(text.lines().next().expect("a line").to_owned());
    }
    let told = format!("Content-Length: {length}");
    assert_eq!(
        starts,
        ["A: 1", "A: 2", "Subject : 3", &told, "A: 6", "A: 4", "A: 5"]
    );
}

// C7: Dovecot compresses what is in its Maildir folders, and Apple Mail has a line before the mail and a list behind it.
#[test]
fn compressed_mails_and_those_of_apple_mail_are_found_in_their_files() {
    let folder = tempfile::tempdir().expect("folder");
    let maildir = folder.path().join("maildir");
    for name in ["cur", "new"] {
        fs::create_dir_all(maildir.join(name)).expect("folder");
    }
    let put = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).expect("write");
    let mail = |number: usize| format!("A: {number}\r\n\r\nx\r\n");
    put("maildir/cur/1.host,S=11:2,S", mail(1).as_bytes());
    let packed = zstd::encode_all(mail(2).as_bytes(), 3).expect("packed");
    put("maildir/cur/2.host,S=11:2,SZ", &packed);
    let apple = format!(
        "{}        \n{}<?xml version=\"1.0\"?>\n",
        mail(3).len(),
        mail(3)
    );
    put("3.emlx", apple.as_bytes());
    put("4.eml.gz", &gzip(mail(4).as_bytes()));
    put("5.mbox.gz", &gzip(format!("{LINE}{}", mail(5)).as_bytes()));
    put("6.pdf.gz", &gzip(b"%PDF-1.4\n"));
    let cut = gzip(mail(7).as_bytes());
    put("7.eml.gz", &cut[..cut.len() - 4]);
    put("8.zip", b"PK\x03\x04\x14\0");
    let (mut texts, mut refused) = (Vec::new(), Vec::new());
    for (path, _) in files(&[folder.path().to_owned()]).expect("list").files {
        for mail in mails_of(&path) {
            match mail {
                Ok(mut mail) => {
                    let mut text = String::new();
                    mail.bytes.read_to_string(&mut text).expect("text");
                    assert_eq!(text.len() as u64, mail.length);
                    texts.push(text);
                }
                Err(error) => refused.push(error.to_string()),
            }
        }
    }
    assert_eq!(texts, [mail(3), mail(4), mail(1), mail(2)]);
    let said = [
        "compressed mailbox file: unpack it",
        "is no mail",
        "cannot unpack",
        "8.zip is a ZIP archive: unpack it first",
    ];
    assert_eq!(refused.len(), said.len(), "{refused:?}");
    for (refused, said) in refused.iter().zip(said) {
        assert!(refused.contains(said), "{refused}");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(bytes).expect("packed");
    packer.finish().expect("packed")
}

// A mail that is cut off while it is read is named, and is not the intake's doing; nothing of it comes in.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_becomes_shorter_while_it_is_read_is_named() {
    let server = Server::start().await;
    let socket = server.socket("import.sock");
    let digest = Digest::of(b"x");
    let cut = |text: &'static [u8], length| {
        let place = format!("mail of {length}");
        let bytes = Box::new(text);
        let [origin, identity, former] = [digest; 3];
        Found {
            place,
            origin,
            identity,
            former,
            span: length,
            length,
            bytes,
        }
    };
    let mails = vec![
        Ok(cut(b"A: 1\n\none\n", 10)),
        Ok(cut(b"A: 2\n\ntwo\n", 9000)),
    ];
    let work = move || {
        let destination = Destination {
            tenant: None,
            mailbox: "ann@example.org".into(),
        };
        send(
            &socket,
            &destination,
            mails.into_iter(),
            &HashSet::new(),
            |_| Ok(()),
        )
    };
    let sent = tokio::task::spawn_blocking(work).await.expect("no panic");
    let said = sent.expect_err("it broke off").to_string();
    assert!(
        said.starts_with("mail of 9000 could not be read to its end: it became shorter"),
        "{said}"
    );
    assert_eq!(server.stop().await.mails.len(), 1);
}
