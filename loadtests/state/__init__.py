"""The state of three regions under faults, with real processes: is what was acknowledged still there afterwards?"""
