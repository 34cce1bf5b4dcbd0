//! Packets of the SSH file transfer protocol, version 3 (draft-ietf-secsh-filexfer-02).
