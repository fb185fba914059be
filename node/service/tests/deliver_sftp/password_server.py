"""An SSH server that asks for a password: password_server.py FOLDER PORT PASSWORD WAY...

OpenSSH cannot be given a password for a user that is not the machine's, so this is asyncssh. WAY is
`password`, `keyboard-interactive` or `publickey` (FOLDER/id.pub). `plain` turns off what OpenSSH can do
beyond the protocol.
"""

import asyncio
import sys

import asyncssh

folder, port, password, *ways = sys.argv[1:]
is_plain = "plain" in ways


class Server(asyncssh.SSHServer):
    def begin_auth(self, username):
        return True

    def password_auth_supported(self):
        return "password" in ways

    def validate_password(self, username, given):
        return username == "recorder" and given == password

    def kbdint_auth_supported(self):
        return "keyboard-interactive" in ways

    def get_kbdint_challenge(self, username, lang, submethods):
        return "", "", "", [("Password: ", False)]

    def validate_kbdint_response(self, username, responses):
        return username == "recorder" and responses == [password]

    def public_key_auth_supported(self):
        return "publickey" in ways


class Plain(asyncssh.SFTPServer):
    def posix_rename(self, oldpath, newpath):
        raise asyncssh.SFTPOpUnsupported("not here")

    def fsync(self, file_obj):
        raise asyncssh.SFTPOpUnsupported("not here")

    def fstatvfs(self, file_obj):
        raise asyncssh.SFTPOpUnsupported("not here")


async def main():
    await asyncssh.listen(
        "127.0.0.1",
        int(port),
        server_factory=Server,
        server_host_keys=[f"{folder}/host-ed25519"],
        authorized_client_keys=f"{folder}/id.pub" if "publickey" in ways else None,
        sftp_factory=Plain if is_plain else asyncssh.SFTPServer,
    )
    await asyncio.Event().wait()


asyncio.run(main())
