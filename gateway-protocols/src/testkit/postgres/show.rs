//! Messages as one line of text each, for people who read transcripts.

use bytes::{Bytes, BytesMut};

use super::LIMITS;
use crate::postgres::{
    frame::{Decoder, LengthRules, body},
    message::{
        Authentication, Backend, Frontend, Named, PasswordMessage, ReportField, ReportFields,
        SaslInitialResponse, StartupPacket, TransactionStatus, Value, backend_length,
        frontend_length,
    },
};

/// Longest value shown.
const SHOWN_CHARS_MAX: usize = 60;

/// What an agent, or the gateway in its place, said: every complete message at the front of
/// `input`, which is taken. `startup` is set while packets have no tag.
pub fn show_from_agent(input: &mut BytesMut, startup: &mut bool) -> Vec<String> {
    let mut shown = Vec::new();
    while *startup {
        let Some(packet) = super::startup_packet(input) else {
            return shown;
        };
        shown.push(show_startup(&packet, startup));
    }
    each(input, frontend_length, &mut shown, show_frontend);
    shown
}

/// What a server, or the gateway in its place, said. `answers` counts the one-byte answers to
/// SSLRequest and GSSENCRequest that come first.
pub fn show_from_server(input: &mut BytesMut, answers: &mut usize) -> Vec<String> {
    let mut shown = Vec::new();
    // An error in place of an answer is a message.
    while *answers > 0 && matches!(input.first(), Some(b'S' | b'N')) {
        let answer = input.split_to(1);
        shown.push(answer.escape_ascii().to_string());
        *answers -= 1;
    }
    if !input.is_empty() {
        *answers = 0;
    }
    each(input, backend_length, &mut shown, show_backend);
    shown
}

fn each(
    input: &mut BytesMut,
    rules: LengthRules,
    shown: &mut Vec<String>,
    show: fn(u8, &[u8]) -> String,
) {
    let mut decoder = Decoder::new(LIMITS);
    loop {
        match decoder.decode(input, rules) {
            Ok(Some(frame)) => {
                let bytes: &Bytes = frame.bytes();
                let tag = bytes.first().copied().unwrap_or_default();
                shown.push(show(tag, body(bytes)));
            }
            Ok(None) => return,
            Err(error) => {
                shown.push(format!("malformed: {error}"));
                input.clear();
                return;
            }
        }
    }
}

fn show_startup(packet: &[u8], startup: &mut bool) -> String {
    match StartupPacket::parse(packet) {
        Ok(StartupPacket::SslRequest) => "SSLRequest".into(),
        Ok(StartupPacket::GssEncRequest) => "GSSENCRequest".into(),
        Ok(StartupPacket::Cancel(cancel)) => {
            format!(
                "CancelRequest {} {} bytes",
                cancel.process_id,
                cancel.key.len()
            )
        }
        Ok(StartupPacket::Startup(packet)) => {
            *startup = false;
            let parameters: Vec<String> = packet
                .parameters
                .iter()
                .map(|(name, value)| format!("{}={}", name.escape_ascii(), value.escape_ascii()))
                .collect();
            format!(
                "Startup 3.{} {}",
                packet.version.minor,
                parameters.join(" ")
            )
        }
        Err(error) => format!("malformed: {error}"),
    }
}

fn show_frontend(tag: u8, body: &[u8]) -> String {
    let message = match Frontend::parse(tag, body) {
        Ok(message) => message,
        Err(error) => return format!("malformed: {error}"),
    };
    match message {
        Frontend::Query(query) => format!("Query {}", quoted(query.text)),
        Frontend::Parse(parse) => {
            format!("Parse {} {}", quoted(parse.statement), quoted(parse.text))
        }
        Frontend::Bind(bind) => format!(
            "Bind {} {} [{}]{}",
            quoted(bind.portal),
            quoted(bind.statement),
            cells(bind.parameters.iter()),
            if bind
                .result_formats
                .iter()
                .any(|f| f == crate::postgres::message::Format::Binary)
            {
                " binary"
            } else {
                ""
            }
        ),
        Frontend::Describe(describe) => format!("Describe {}", named(describe.0)),
        Frontend::Close(close) => format!("Close {}", named(close.0)),
        Frontend::Execute(execute) => {
            format!("Execute {} {}", quoted(execute.portal), execute.rows_max)
        }
        Frontend::CopyData(data) => format!("CopyData {}", quoted(data.0)),
        Frontend::CopyFail(fail) => format!("CopyFail {}", quoted(fail.reason)),
        Frontend::CopyDone(_) => "CopyDone".into(),
        Frontend::Flush(_) => "Flush".into(),
        Frontend::Sync(_) => "Sync".into(),
        Frontend::Terminate(_) => "Terminate".into(),
        Frontend::FunctionCall(call) => format!("FunctionCall {}", call.function),
        Frontend::AuthenticationResponse(response) => show_authentication_response(response.0),
    }
}

/// Which of three messages it is, only the conversation tells: these conversations are known.
fn show_authentication_response(body: &[u8]) -> String {
    use crate::postgres::message::Message as _;
    if let Ok(initial) = SaslInitialResponse::parse(body)
        && initial.mechanism.starts_with(b"SCRAM")
    {
        return format!(
            "SASLInitialResponse {} {}",
            initial.mechanism.escape_ascii(),
            quoted(initial.data.unwrap_or_default())
        );
    }
    match PasswordMessage::parse(body) {
        Ok(message) => format!("Password {}", quoted(message.password)),
        Err(_) => format!("SASLResponse {} bytes", body.len()),
    }
}

fn show_backend(tag: u8, body: &[u8]) -> String {
    let message = match Backend::parse(tag, body) {
        Ok(message) => message,
        Err(error) => return format!("malformed: {error}"),
    };
    match message {
        Backend::Authentication(authentication) => show_authentication(&authentication),
        Backend::BackendKeyData(key) => {
            format!("BackendKeyData {} {} bytes", key.process_id, key.key.len())
        }
        Backend::ParameterStatus(status) => format!(
            "ParameterStatus {}={}",
            status.name.escape_ascii(),
            status.value.escape_ascii()
        ),
        Backend::ReadyForQuery(ready) => match ready.status {
            TransactionStatus::Idle => "Ready idle".into(),
            TransactionStatus::InTransaction => "Ready block".into(),
            TransactionStatus::Failed => "Ready failed".into(),
        },
        Backend::RowDescription(description) => {
            let fields = description.fields.iter().map(|field| {
                format!(
                    " {}:{}.{}",
                    field.name.escape_ascii(),
                    field.table,
                    field.attribute
                )
            });
            format!("RowDescription{}", fields.collect::<String>())
        }
        Backend::DataRow(row) => format!("DataRow {}", cells(row.cells.iter())),
        Backend::CommandComplete(complete) => format!("CommandComplete {}", quoted(complete.tag)),
        Backend::ErrorResponse(error) => format!("Error {}", report(&error.0)),
        Backend::NoticeResponse(notice) => format!("Notice {}", report(&notice.0)),
        Backend::NotificationResponse(note) => format!(
            "Notification {} {}",
            note.channel.escape_ascii(),
            quoted(note.payload)
        ),
        Backend::ParameterDescription(description) => {
            format!(
                "ParameterDescription {:?}",
                description.types.iter().collect::<Vec<_>>()
            )
        }
        Backend::NegotiateProtocolVersion(negotiate) => {
            let options: Vec<String> = negotiate
                .unknown_options
                .iter()
                .map(|option| option.escape_ascii().to_string())
                .collect();
            format!(
                "NegotiateProtocolVersion {:#x} {options:?}",
                negotiate.newest
            )
        }
        Backend::CopyData(data) => format!("CopyData {}", quoted(data.0)),
        // The rest has no fields worth reading.
        other => format!("{other:?}")
            .split(['(', ' ', '{'])
            .next()
            .unwrap_or_default()
            .to_owned(),
    }
}

fn show_authentication(authentication: &Authentication<'_>) -> String {
    match authentication {
        Authentication::Ok => "AuthenticationOk".into(),
        Authentication::CleartextPassword => "AuthenticationCleartextPassword".into(),
        Authentication::Sasl(mechanisms) => {
            let names = mechanisms
                .iter()
                .map(|name| format!(" {}", name.escape_ascii()));
            format!("AuthenticationSASL{}", names.collect::<String>())
        }
        Authentication::SaslContinue(data) => {
            format!("AuthenticationSASLContinue {}", quoted(data))
        }
        Authentication::SaslFinal(_) => "AuthenticationSASLFinal".into(),
        _ => "Authentication".into(),
    }
}

fn report(fields: &ReportFields<'_>) -> String {
    let get = |field| fields.get(field).unwrap_or_default();
    let mut shown = format!(
        "{} {} {}",
        get(ReportField::SeverityNonLocalized).escape_ascii(),
        get(ReportField::Code).escape_ascii(),
        full(get(ReportField::Message))
    );
    for (name, field) in [("detail", ReportField::Detail), ("hint", ReportField::Hint)] {
        if let Some(text) = fields.get(field) {
            shown.push_str(&format!(" {name}={}", full(text)));
        }
    }
    shown
}

fn named(named: Named<'_>) -> String {
    match named {
        Named::Statement(name) => format!("S {}", quoted(name)),
        Named::Portal(name) => format!("P {}", quoted(name)),
    }
}

fn cells<'a>(cells: impl Iterator<Item = Value<'a>>) -> String {
    let cells: Vec<String> = cells
        .map(|cell| {
            cell.map_or("NULL".to_owned(), |cell| {
                short(cell.escape_ascii().to_string())
            })
        })
        .collect();
    cells.join("|")
}

fn full(bytes: &[u8]) -> String {
    format!(
        "\"{}\"",
        String::from_utf8_lossy(bytes).replace('\n', "\\n")
    )
}

fn quoted(bytes: &[u8]) -> String {
    format!(
        "\"{}\"",
        short(bytes.escape_ascii().to_string().replace("\\\"", "\""))
    )
}

fn short(text: String) -> String {
    if text.chars().count() <= SHOWN_CHARS_MAX {
        return text;
    }
    let start: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{start}... ({} bytes)", text.len())
}
