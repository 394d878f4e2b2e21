"""Small samples of several kinds of text, written for `inkling tokenizer eval`: how a vocabulary copes with each."""

SAMPLES = {
    "English": """\
The lighthouse keeper's daughter had never seen a train. Everything she knew of the world beyond the island came
from the mail boat, which called twice a week if the weather let it, and from the wireless set that her father would
not allow to be switched on before supper. So when the letter arrived, asking whether she would like to spend the
autumn with an aunt in the city, she read it three times, folded it, and put it under the clock, where important
papers went.

"You'll want better shoes," said her father, who had plainly read it first.

Nobody spoke about it again until Thursday. It isn't easy to leave a place where you know each stone by its name, and
harder still to explain to the person who taught you those names that you'd like to learn some others. She practised
the sentence while she cleaned the lamp: I should like to go, but only if you can manage. He could manage, of course.
He had managed before she was born, and there was a perfectly good boy on the next island who'd be glad of the work.

What surprised her in the end wasn't the noise of the city or the height of its houses. It was how little of the sky
there was, and how few people ever looked at it.
""",
    "European": """\
Am nächsten Morgen lag über den Dächern eine dünne Schneeschicht, und die Straßenbahn fuhr langsamer als gewöhnlich.
Niemand hatte es eilig. Wer früh genug aufgestanden war, konnte zusehen, wie der Bäcker die Bleche hinaustrug.

Chaque été, nous partions à la montagne dans une vieille voiture qui s'arrêtait toujours au même col. Mon père ouvrait
le capot, regardait le moteur d'un air grave, puis déclarait qu'il fallait attendre, et l'on mangeait des abricots.

El río bajaba crecido aquella primavera, y los niños apostaban cuánto tardaría el agua en llegar al tercer peldaño.
Mañana, decía la abuela, mañana ya habrá tiempo de arreglar el puente; hoy vamos a escuchar cómo suena.

Wieczorem w kuchni pachniało jabłkami i cynamonem. Dziadek opowiadał, że kiedyś zimy były dłuższe, a wilki podchodziły
pod same okna, lecz nikt mu już nie wierzył, bo co roku wilków przybywało w jego opowieści.

Kaupungin laidalla oli pieni kirjasto, jonka ikkunoista näki merelle. Siellä istuttiin hiljaa sateella.
""",
    "other scripts": """\
Вечером они сидели на крыльце и слушали, как за рекой гудит поезд. Завтра обещали дождь, но никто в это не верил.
Το καράβι έφυγε πριν ξημερώσει, και στο λιμάνι έμειναν μόνο οι γάτες και ένας ψαράς που έφτιαχνε τα δίχτυα του.
في الصباح فتح الرجل باب الدكان، ورتّب الكتب القديمة على الرفوف، ثم جلس ينتظر أول زائر ومعه فنجان قهوة.
הילדה ספרה את המדרגות בכל יום, ובכל יום יצא לה מספר אחר, עד שהחליטה שהמגדל גדל בלילה.
गाँव के बाहर एक पुराना बरगद था, जिसके नीचे हर शाम लोग बैठकर कहानियाँ सुनते और दिन भर की बातें करते थे।
ฝนตกตั้งแต่เช้า เด็กๆ จึงนั่งวาดรูปอยู่ในบ้าน และรอให้แม่กลับมาจากตลาด
小镇的尽头有一家旧书店,老板从不问客人想买什么,只请他们先喝一杯茶,再慢慢地看。
図書館の窓から海が見えた。雨の日になると、漁に出られない人たちがやって来て、静かに新聞を読んでいた。
할머니는 해마다 가을이면 마당에 멍석을 펴고 고추를 말리셨다. 우리는 그 옆에서 숙제를 하다가 잠이 들곤 했다.
""",
    "code": '''\
from dataclasses import dataclass, field


@dataclass
class Inventory:
    """What a shop has, by article."""

    stock: dict[str, int] = field(default_factory=dict)
    reserved: set[str] = field(default_factory=set)

    def take(self, article: str, amount: int = 1) -> bool:
        available = self.stock.get(article, 0)
        if article in self.reserved or available < amount:
            return False
        self.stock[article] = available - amount
        return True


def restock(inventory: Inventory, deliveries: list[tuple[str, int]]) -> None:
    for article, amount in deliveries:
        if amount <= 0:
            raise ValueError(f"{article}: {amount} is not a delivery")
        inventory.stock[article] = inventory.stock.get(article, 0) + amount


static int compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return (x->key > y->key) - (x->key < y->key);
}

export async function fetchOrders(userId, { limit = 50 } = {}) {
  const response = await fetch(`/api/users/${userId}/orders?limit=${limit}`);
  if (!response.ok) {
    throw new Error(`HTTP ${response.status}`);
  }
  return (await response.json()).filter((order) => order.total > 0 && !order.cancelled);
}

SELECT city, COUNT(*) AS visits, AVG(duration) FROM sessions
WHERE day >= '2024-03-01' GROUP BY city HAVING COUNT(*) > 10;
''',
    "numbers": """\
year,population,area_km2,density
1961,1204377,8412.5,143.17
1976,1389120,8412.5,165.13
1991,1502846,8409.0,178.72
2006,1617905,8409.0,192.40
2021,1733218,8411.3,206.06

Invoice 2023-10-0047: 12 x 3.75 = 45.00; 250 x 0.089 = 22.25; VAT 19% = 12.78; total 80.03 EUR, due 14/11/2023.
Call 555-0142 between 08:30 and 17:45. The parcel weighs 1,250 g and measures 30 x 21 x 14.5 cm.
17 + 25 = 42; 1000000 / 7 = 142857.142857; 2^31 - 1 = 2147483647; 0x7fff = 32767; 6.022e23; -273.15; 192.168.0.1
3 1 4 1 5 9 2 6 5 3 5 8 9 7 9 3 2 3 8 4 6 2 6 4 3 3 8 3 2 7 9 5
""",
    "mathematics": r"""\
Let $f : \mathbb{R}^n \to \mathbb{R}$ be convex and differentiable with $\|\nabla f(x) - \nabla f(y)\| \le L \|x - y\|$.
Then gradient descent with step $\eta = 1/L$, that is $x_{k+1} = x_k - \eta \nabla f(x_k)$, satisfies
\[
  f(x_k) - f(x^\star) \le \frac{L \, \|x_0 - x^\star\|^2}{2k} \qquad \text{for all } k \ge 1 .
\]
Proof. By smoothness, $f(x_{k+1}) \le f(x_k) - \frac{1}{2L} \|\nabla f(x_k)\|^2$; sum over $k$ and use convexity.

∀ε > 0 ∃δ > 0: |x − a| < δ ⇒ |f(x) − f(a)| < ε.   ∑ₖ₌₁ⁿ k² = n(n + 1)(2n + 1)/6,   ∫₀^∞ e^(−x²) dx = √π/2,   A ∪ B ⊆ C,
det(AB) = det(A)·det(B),   e^{iπ} + 1 = 0,   p(x | θ) ∝ exp(−½ (x − μ)ᵀ Σ⁻¹ (x − μ)),   n! ≈ √(2πn) (n/e)ⁿ.
""",
}
