"""The light client: from the genesis bytes alone, verifies what any server says.

``bundles`` decodes answers, ``trust`` follows certified headers and membership changes,
``verify`` checks state, logs and entries, ``records`` gives them their meaning, ``saved`` does
all of it offline. Pure: the current time is an argument. Loads no contract and no node code.
"""
