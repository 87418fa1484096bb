"""People of the sample who do not exist: Chinese names, identity numbers, addresses, phones.

Everything is a pure function of a patient's index, sex and date of birth, so that the sample is
re-made byte for byte. Nothing here can belong to a real person:

- identity numbers have the form of GB 11643 and a correct check digit, but the region 999999,
  which GB/T 2260 never assigned;
- phone numbers have the form of a Beijing line whose local part begins with 0, which is the trunk
  prefix and therefore begins no subscriber number;
- provinces, cities and postal codes (000000) are invented.
"""

from dataclasses import dataclass

NATIONAL_ID_SYSTEM = "urn:oid:2.16.156.10011.1.3"
"""Identifier system of the resident identity number in the health standards of China (WS/T 500)."""

UNASSIGNED_REGION = "999999"
_CHECK_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK_DIGITS = "10X98765432"


def _names(text: str) -> list[tuple[str, str]]:
    """Pairs of Chinese and Latin spelling from a list such as `王Wang 李Li`."""
    pairs = []
    for entry in text.split():
        latin = "".join(character for character in entry if ord(character) < 0x250)
        pairs.append((entry.removesuffix(latin), latin))
    return pairs


_SURNAMES = _names(
    "王Wang 李Li 张Zhang 刘Liu 陈Chen 杨Yang 赵Zhao 黄Huang 周Zhou 吴Wu 徐Xu 孙Sun 胡Hu 朱Zhu "
    "高Gao 林Lin 何He 郭Guo 马Ma 罗Luo 梁Liang 宋Song 郑Zheng 谢Xie 韩Han 唐Tang 冯Feng 于Yu "
    "董Dong 萧Xiao 程Cheng 曹Cao 袁Yuan 邓Deng 许Xu 傅Fu 沈Shen 曾Zeng 彭Peng 吕Lü"
)
_FEMALE_GIVEN = _names(
    "秀英Xiuying 桂兰Guilan 淑华Shuhua 静怡Jingyi 雪梅Xuemei 玉珍Yuzhen 丽娟Lijuan 晓燕Xiaoyan "
    "婷婷Tingting 思琪Siqi 慧敏Huimin 春花Chunhua 佳慧Jiahui 雅琴Yaqin 梦洁Mengjie 红霞Hongxia "
    "文秀Wenxiu"
)
_MALE_GIVEN = _names(
    "建国Jianguo 志强Zhiqiang 国庆Guoqing 伟Wei 海涛Haitao 俊杰Junjie 明远Mingyuan 德胜Desheng "
    "永康Yongkang 子轩Zixuan 浩然Haoran 立新Lixin 广林Guanglin 晓东Xiaodong 振华Zhenhua 学文Xuewen "
    "家豪Jiahao"
)
_CITIES = ("云溪市", "平湖里市", "长宁洲市", "青屏市", "白鹭洲市")
_DISTRICTS = ("安和区", "福宁区", "仁济区", "康乐区", "德馨区", "景明区", "望江里区")
_STREETS = ("健康路", "和平里大街", "杏林路", "清泉巷", "槐荫街", "同心路", "松柏路", "向阳街")


@dataclass(frozen=True, slots=True)
class Person:
    """The invented identity of one patient."""

    family: str
    """Surname in Chinese characters."""
    given: str
    """Given name in Chinese characters."""
    family_latin: str
    given_latin: str
    national_id: str
    """18 characters of GB 11643 form."""
    province: str
    city: str
    district: str
    street: str
    phone: str

    @property
    def name(self) -> str:
        """Full name as written in Chinese, surname first."""
        return self.family + self.given

    @property
    def dicom_name(self) -> str:
        """Person name in the two component groups of DICOM: alphabetic and ideographic."""
        return f"{self.family_latin}^{self.given_latin}={self.family}^{self.given}"


def check_digit(first17: str) -> str:
    """Check character of GB 11643 (ISO 7064 MOD 11-2) for the first 17 digits."""
    total = sum(weight * int(digit) for weight, digit in zip(_CHECK_WEIGHTS, first17, strict=True))
    return _CHECK_DIGITS[total % 11]


def person(index: int, *, male: bool, birth_date: str) -> Person:
    """The person of this index, born on `birth_date` (YYYY-MM-DD); distinct for distinct indexes.

    The order number in an identity number is odd for men and even for women, as in GB 11643.
    """
    family, family_latin = _SURNAMES[index * 7 % len(_SURNAMES)]
    given_names = _MALE_GIVEN if male else _FEMALE_GIVEN
    given, given_latin = given_names[index * 5 % len(given_names)]
    order = 2 * (index + 100) + (1 if male else 0)
    first17 = f"{UNASSIGNED_REGION}{birth_date.replace('-', '')}{order:03d}"
    building, room = index % 18 + 1, 101 + index * 37 % 900
    return Person(
        family=family,
        given=given,
        family_latin=family_latin,
        given_latin=given_latin,
        national_id=first17 + check_digit(first17),
        province="示例省",
        city=_CITIES[index % len(_CITIES)],
        district=_DISTRICTS[index % len(_DISTRICTS)],
        street=f"{_STREETS[index % len(_STREETS)]}{index * 13 % 180 + 1}号{building}栋{room}室",
        phone=f"+86 10 0{(index + 1) * 7919 % 10_000_000:07d}",
    )


def staff_name(index: int) -> str:
    """An invented name for the member of staff with this index."""
    family, _ = _SURNAMES[(index * 11 + 3) % len(_SURNAMES)]
    given, _ = (_MALE_GIVEN + _FEMALE_GIVEN)[(index * 3 + 1) % 34]
    return family + given
