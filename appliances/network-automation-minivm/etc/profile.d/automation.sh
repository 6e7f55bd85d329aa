# A login shell sets a PATH of its own.
PATH=/opt/automation/bin:$PATH
