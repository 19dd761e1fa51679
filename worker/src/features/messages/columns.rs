//! Parts of statements that several statements of messages share.

/// A message as [`message_view`] reads it; `kind` needs the number of verified participants.
macro_rules! message_columns {
    () => {
        "m.id, m.conversation_id, m.seq, m.guid, m.message_type, m.content, m.created_at, m.deleted_at, \
         m.call_type, m.call_status, m.message_status, m.attachments, m.sender_id, \
         u.first_name, u.last_name"
    };
}
pub(crate) use message_columns;

/// How many are verified.
macro_rules! heads_counted {
    ($conversation:literal) => {
        concat!(
            "(select count(*) from participants q where q.conversation_id = ",
            $conversation,
            " and q.status = 'VERIFIED')"
        )
    };
}
pub(crate) use heads_counted;
