//! Servers that say no, and names and certificates that are not as they should be.

use holdfast::config::FtpDestination;
use holdfast::deliver::Destination;
use holdfast::deliver::ftp::{Ftp, Protection};
use holdfast_core::attempts::Fault;

use super::server::{BOTH, Kind, Server, Setup};
use super::{MIB, bytes, fails, file, impatient, quick};

#[tokio::test]
async fn a_wrong_password_is_the_customers_and_is_not_said_aloud() {
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), "a.mp4", &bytes(10));
    for kind in BOTH {
        let server = Server::of(kind).await;
        let settings = server.settings();
        std::fs::write(server.file("password"), "hunter2 and a half\n").unwrap();
        let ftp = server.at(&settings, quick());
        let error = fails(&ftp, &file).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains("cannot log in: the server answers 530"), "{error}");
        assert!(error.sentence.contains("put the password of user"), "{error}");
        assert!(!error.sentence.contains("hunter2"), "{error}");
        // It is read anew each time.
        server.settings();
        ftp.push(&file).await.unwrap();
        for (content, problem) in [("", "it is empty"), ("a\nb", "more than one line")] {
            std::fs::write(server.file("password"), content).unwrap();
            let error = fails(&server.at(&settings, quick()), &file).await;
            assert_eq!(error.fault, Fault::Customers);
            assert!(error.sentence.contains(problem), "{error}");
        }
    }
}

#[tokio::test]
async fn a_folder_that_may_not_be_written_is_the_customers() {
    let dir = tempfile::tempdir().unwrap();
    for kind in BOTH {
        let server = Server::of(kind).await;
        for (directory, name) in [("/", "a.mp4"), ("/closed", "a.mp4"), ("/", "closed/a.mp4")] {
            let settings = FtpDestination { directory: directory.into(), ..server.settings() };
            let file = file(dir.path(), name, &bytes(10));
            let error = fails(&server.at(&settings, quick()), &file).await;
            assert_eq!(error.fault, Fault::Customers);
            assert!(error.sentence.contains("write, rename and make folders there"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_full_disk_is_the_customers() {
    let dir = tempfile::tempdir().unwrap();
    for setup in BOTH.map(Setup::of).into_iter().chain(BOTH.map(Setup::plain)) {
        let server = Server::start(setup.clone()).await;
        server.make_small();
        let file = file(dir.path(), "small/a.mp4", &bytes(20 * MIB));
        let error = fails(&server.ftp(), &file).await;
        assert_eq!(error.fault, Fault::Customers, "{setup:?}");
        assert!(error.sentence.contains("disk is full"), "{setup:?}: {error}");
        assert!(!server.names("small").contains(&"a.mp4".to_owned()));
    }
}

#[tokio::test]
async fn certificates_that_are_not_good_are_the_customers() {
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), "a.mp4", &bytes(10));
    for kind in BOTH {
        for (certificate, problem) in [
            ("expired", "its certificate has expired or is not valid yet; renew it"),
            ("elsewhere", "its certificate is made for another name than \"127.0.0.1\""),
        ] {
            let certificate = Some(certificate);
            let server = Server::start(Setup { certificate, ..Setup::of(kind) }).await;
            let error = fails(&server.ftp(), &file).await;
            assert_eq!(error.fault, Fault::Customers);
            assert!(error.sentence.contains(problem), "{error}");
        }
        let server = Server::of(kind).await;
        for (ca_file, problem) in [
            (None, "from an authority that this node does not know; put its authority's"),
            (Some(server.file("stranger.pem")), "does not hold the authority that signed it"),
        ] {
            let settings = FtpDestination { ca_file, ..server.settings() };
            let error = fails(&server.at(&settings, quick()), &file).await;
            assert_eq!(error.fault, Fault::Customers);
            assert!(error.sentence.contains(problem), "{error}");
        }
        assert!(server.names("").is_empty());
    }
}

#[tokio::test]
async fn a_password_goes_to_no_server_without_tls_and_plain_ftp_to_none_that_wants_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), "a.mp4", &bytes(10));
    for kind in BOTH {
        let server = Server::of(kind).await;
        let settings = FtpDestination { ca_file: None, ..server.settings() };
        let plain = Ftp::with_limits(&settings, Protection::None, quick()).unwrap();
        let error = fails(&plain, &file).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains("use kind = \"ftps\""), "{error}");

        let server = Server::start(Setup::plain(kind)).await;
        let secure = Ftp::with_limits(&server.settings(), Protection::Tls, quick()).unwrap();
        let error = fails(&secure, &file).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains("the server does not offer TLS"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_down_or_unknown_or_none_at_all_is_said_so() {
    let server = Server::of(Kind::Vsftpd).await;
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), "a.mp4", &bytes(10));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port_of_silent = silent.local_addr().unwrap().port();
    for (host, port, problem) in [
        ("127.0.0.1", free, "connection refused"),
        ("no-such-host.invalid", 21, "cannot be resolved"),
        ("127.0.0.1", port_of_silent, "cannot be greeted: nothing moved for 2000 ms"),
    ] {
        let settings = FtpDestination { host: host.into(), port, ..server.settings() };
        let error = fails(&server.at(&settings, impatient()), &file).await;
        assert_eq!(error.fault, Fault::Networks);
        assert!(error.sentence.contains(problem), "{error}");
    }
}

#[tokio::test]
async fn names_that_lead_elsewhere_or_end_a_command_are_refused_and_others_arrive() {
    let dir = tempfile::tempdir().unwrap();
    for kind in BOTH {
        let server = Server::of(kind).await;
        let ftp = server.ftp();
        for name in [
            "../a.mp4",
            "a/../../b.mp4",
            "a\\b.mp4",
            "a\0b.mp4",
            "a.mp4\r\nDELE b.mp4",
            "a\nb",
            "/etc/a",
            "",
            &"ă".repeat(150),
        ] {
            let error = fails(&ftp, &file(dir.path(), name, &bytes(10))).await;
            assert_eq!(error.fault, Fault::Ours, "{name:?}");
            assert!(error.sentence.contains("cannot use the name"), "{error}");
        }
        for name in [
            "Bună ziua.mp4",
            " begins and ends with a space ",
            "-rf.mp4",
            "🎬🎥.mp4",
            "a*b?[c]{d}~.mp4",
            "%2e%2e%2f \"quoted\" 'too'.mp4",
            &format!("{}.mp4", "ă".repeat(125)),
        ] {
            let content = bytes(1_000 + name.len());
            let pushed = ftp.push(&file(dir.path(), &format!("ț/{name}"), &content)).await;
            pushed.unwrap_or_else(|error| panic!("{kind:?} {name:?}: {error}"));
            assert!(server.read(&format!("ț/{name}")).unwrap() == content, "{kind:?} {name:?}");
        }
        assert_eq!(server.names("ț").len(), 7);
        assert_eq!(server.names(""), ["ț"]);
    }
}

#[tokio::test]
async fn a_file_of_the_vault_that_is_not_as_the_ledger_says_is_ours() {
    let server = Server::of(Kind::Vsftpd).await;
    let ftp = server.ftp();
    let dir = tempfile::tempdir().unwrap();
    let good = file(dir.path(), "a.mp4", &bytes(100));
    let empty = file(dir.path(), "a.mp4", &[]);
    for bad in [
        holdfast::deliver::FileToPush { bytes: 99, ..good.clone() },
        holdfast::deliver::FileToPush { path: dir.path().join("missing"), ..good.clone() },
        empty,
    ] {
        assert_eq!(fails(&ftp, &bad).await.fault, Fault::Ours);
    }
    assert!(server.names("").is_empty());
}
