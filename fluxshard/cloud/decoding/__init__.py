"""Decoding of video that anyone may have sent: in a child process without rights, one for each stream.

Bugs in libavcodec and libswscale that corrupt memory are found every few months. What such a bug gives an attacker here
is a process that can read its packets, write its pictures, and do nothing else.
"""
