"""The commonest passwords of eight and more characters, in lower case.

Source: the top of the lists of leaked passwords that the United Kingdom's NCSC and NordPass
publish. An attacker who is slowed down tries these and no more.
"""

from __future__ import annotations

from typing import Final

_LIST = """
00000000 11111111 11223344 12121212 123123123 1234567890 12341234 1234512345 123456123456
12345678 123456789 1234567891 12345678910 123456789a 12345679 123654789 123qweasd 1q2w3e4r
1q2w3e4r5t 1qaz2wsx 1qazxsw2 22222222 31415926 44444444 55555555 66666666 77777777 87654321
88888888 98765432 987654321 9876543210 99999999 aa123456 aa12345678 aaaaaaaa abc12345 abcd1234
abcdefgh access14 admin123 admin1234 administrator adobe123 alexander asdf1234 asdfasdf asdfghjk
asdfghjkl babygirl baseball basketball blink182 butterfly changeme charlie1 chocolate chelsea1
computer corvette dragon123 einstein elephant facebook football football1 freedom1 garfield
google123 guest1234 hallo123 hello123 helloworld iloveyou iloveyou1 internet jennifer jordan23
letmein1 letmein123 liverpool liverpool1 login123 manchester marlboro master123 mercedes
michael1 michelle midnight minecraft monkey123 motdepasse mustang1 mypassword naruto123 nintendo
p@ssw0rd p@ssword pa55word pakistan pass1234 passpass passw0rd password password! password1
password12 password123 password1234 passwort passwort1 pokemon1 princess princess1 q1w2e3r4
q1w2e3r4t5 qazwsxedc qwer1234 qwerqwer qwert123 qwerty12 qwerty123 qwerty1234 qwerty12345
qwertyui qwertyuiop rainbow1 rockyou1 samantha samsung1 secret123 security serenity sunshine
sunshine1 superman superman1 starwars trustno1 target123 test1234 testtest unknown1 user1234
victoria welcome1 welcome123 whatever zaq12wsx zxcvbnm1 zxcvbnm123 zxcvbnm,./
"""

COMMON_PASSWORDS: Final = frozenset(_LIST.split())
