"""Judges any relay that stands between a client and an OpenAI Realtime upstream, from outside and offline.

``python -m local_cloud.conformance --relay URL --mint URL …`` starts the realtime simulator as the upstream, has
clients of all kinds connect to the relay under test, and judges what each side saw. docs/conformance.md has the checks.
"""
